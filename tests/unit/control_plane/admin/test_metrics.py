"""`/metrics`, read by Prometheus' own parser."""

from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ext_proc.counters import DECISION_BUCKETS_S
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, pick, text
from tests.unit.control_plane.sidecar.in_process import (
    FIRST,
    SECOND,
    connected,
    edit,
    is_connected,
    policy_text,
    running,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(admin: aiohttp.ClientSession) -> Samples:
    """Sample name and labels → value; each occurs once."""
    found: Samples = {}
    for family in text_string_to_metric_families(await text(admin, "/metrics")):
        assert family.documentation, family.name
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """One sample; None where there is none."""
    return samples.get((name, frozenset(labels.items())))


async def test_what_an_operator_is_told(tmp_path: Path) -> None:
    """Every name is ours; every number of the alerting table is there from the first scrape on."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        samples = await scrape(admin)
        assert all(name.startswith("kvpilot_") for name, _ in samples)
        assert value(samples, "kvpilot_config_last_reload_successful") == 1
        for name in ("internal_errors", "reservations_expired", "ext_proc_streams", "ext_proc_stream_errors"):
            assert value(samples, f"kvpilot_{name}_total") == 0
        for result in ("ok", "failed"):
            assert value(samples, "kvpilot_scrapes_total", result=result) is not None


async def test_the_content_type_is_prometheus_own(tmp_path: Path) -> None:
    """A scraper recognises the text format and its version."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin, admin.get("/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain; version=")


async def test_picks(tmp_path: Path) -> None:
    """A pick is counted by pool and strategy, its time lies in the histogram."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        for _ in range(2):
            await pick(sidecar)
        samples = await scrape(admin)
        assert value(samples, "kvpilot_picks_total", pool="p", strategy="round-robin") == 2
        assert value(samples, "kvpilot_ext_proc_streams_total") == 2
        assert value(samples, "kvpilot_decision_seconds_count") == 2
        buckets = sorted(
            (float(dict(labels)["le"]), count)
            for (name, labels), count in samples.items()
            if name == "kvpilot_decision_seconds_bucket"
        )
        assert [bound for bound, _ in buckets] == [*DECISION_BUCKETS_S, float("inf")]
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        assert counts[-1] == 2


async def test_shadows(tmp_path: Path) -> None:
    """Each pick of a pool with a shadow is in one of its counters; without one there are none."""
    text_ = policy_text(strategy="primary-standby, shadow: round-robin")
    async with running(tmp_path, text_) as sidecar, admin_of(sidecar) as admin:
        for _ in range(4):
            await pick(sidecar)
        samples = await scrape(admin)
        labels = {"pool": "p", "strategy": "primary-standby", "shadow": "round-robin"}
        results = {
            result: value(samples, "kvpilot_shadow_picks_total", **labels, result=result)
            for result in ("agreed", "differed", "failed")
        }
        assert results == {"agreed": 2, "differed": 2, "failed": 0}
        assert (value(samples, "kvpilot_shadow_regret_total", **labels, by="live") or 0) > 0
        await edit(sidecar, policy_text())
        assert not any("shadow" in name for name, _ in await scrape(admin))


async def test_endpoints(tmp_path: Path) -> None:
    """Each endpoint of each pool has its gauges; what nobody has read yet is absent, not zero."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        samples = await scrape(admin)
        for endpoint in (FIRST, SECOND):
            assert value(samples, "kvpilot_endpoint_in_flight", pool="p", endpoint=endpoint) == 0
            assert value(samples, "kvpilot_endpoint_scrape_age_s", pool="p", endpoint=endpoint) is None
        await edit(sidecar, policy_text(FIRST))
        samples = await scrape(admin)
        assert value(samples, "kvpilot_endpoint_in_flight", pool="p", endpoint=SECOND) is None


async def test_edits(tmp_path: Path) -> None:
    """The result of the last edit is a gauge, all of them are counted."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        await edit(sidecar, "nonsense")
        samples = await scrape(admin)
        assert value(samples, "kvpilot_config_last_reload_successful") == 0
        assert value(samples, "kvpilot_config_reloads_total", result="rejected") == 1
        await edit(sidecar, policy_text(FIRST))
        samples = await scrape(admin)
        assert value(samples, "kvpilot_config_last_reload_successful") == 1
        assert value(samples, "kvpilot_config_reloads_total", result="applied") == 1
        assert value(samples, "kvpilot_config_reloads_total", result="rejected") == 1


async def test_envoys(tmp_path: Path) -> None:
    """Those connected now are counted by type and state; one that has gone is not connected any more."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert value(await scrape(admin), "kvpilot_xds_connected") == 0
        async with connected(sidecar):
            samples = await scrape(admin)
            assert value(samples, "kvpilot_xds_connected") == 1
            assert value(samples, "kvpilot_xds_types", type="EDS", state="SYNCED") == 1
            assert value(samples, "kvpilot_xds_types", type="CDS", state="NOT_SENT") == 1
        await eventually(lambda: not is_connected(sidecar))
        samples = await scrape(admin)
        assert value(samples, "kvpilot_xds_connected") == 0
        assert value(samples, "kvpilot_xds_types", type="EDS", state="SYNCED") is None


@pytest.mark.parametrize(("role", "missing"), [("xds", "kvpilot_picks"), ("picker", "kvpilot_xds_connected")])
async def test_of_one_role(tmp_path: Path, role: str, missing: str) -> None:
    """What does not run has no numbers."""
    async with running(tmp_path, roles=frozenset({role})) as sidecar, admin_of(sidecar) as admin:
        body = await text(admin, "/metrics")
        assert "kvpilot_config_last_reload_successful 1.0" in body
        assert missing not in body
