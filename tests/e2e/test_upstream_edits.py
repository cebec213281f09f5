"""What protects a pool is edited under load: Envoy takes every change of its cluster, and no request fails."""

from pathlib import Path

import pytest

from control_plane.compile.bootstrap import AdsVariant
from control_plane.openai_client import Answer
from tests.e2e.test_picker_gone import grown, load
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh

EDITS = (
    "healthCheck: {http: {path: /health}, interval: 50ms}, timeouts: {maxStreamDuration: 60s}",
    "healthCheck: {tcp: {}, interval: 50ms}, trafficPolicy: {loadBalancer: {consistentHash: "
    "{httpHeaderName: x-session-id, maglev: {tableSize: 251}}}}",
    "trafficPolicy: {loadBalancer: {clientSideWeighted: {}, warmup: {duration: 2s}}, connectionPool: "
    "{tcp: {maxConnectionsPerEndpoint: 500, tcpKeepalive: {}}, http: {retryBudget: {}, maxRequestsPerConnection: 9}}}",
    "trafficPolicy: {loadBalancer: {simple: RANDOM, localityLbSetting: {enabled: true, overprovisioningFactor: 200}}, "
    "outlierDetection: {successRate: {}, failurePercentage: {}, minHealthPercent: 10, detectDegradedHosts: true}}, "
    "retries: {attempts: 1, backoff: 5ms, retryRemoteLocalities: true}",
    "",
)
"""What is said about the pool, one after the other; the last one is the default again."""


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_clusters_change_under_load(tmp_path: Path, ads: AdsVariant) -> None:
    """Policies, checks, limits and protocols come and go, each confirmed by Envoy, and every request succeeds."""
    async with quick_fleet(3) as fleet:
        policy = PolicyText(
            pools={"a": fleet.addresses[:2], "b": fleet.addresses[2:]}, models={"llama": "a", "qwen": "b"}
        )
        async with mesh(tmp_path, policy, ads=ads) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                for settings in EDITS:
                    await grown(answers, 6)
                    policy.pool = settings
                    await running.edit()
                await grown(answers, 6)
            assert [answer.error for _, answer in answers if not answer.ok] == []
            assert sum((await running.stats("cluster_manager.cds.update_rejected")).values()) == 0
