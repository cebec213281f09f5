"""`/status` and `/readyz`."""

from pathlib import Path

import pytest

from control_plane.admin import status
from control_plane.admin.status import not_ready
from control_plane.sidecar.envoy_process import EnvoyProcess
from control_plane.sidecar.sidecar import Sidecar
from control_plane.xds.kinds import LISTENERS, ROUTES
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, get, text
from tests.unit.control_plane.sidecar.in_process import (
    FIRST,
    SECOND,
    EndpointsClient,
    connected,
    edit,
    is_connected,
    options,
    policy_text,
    running,
)
from tests.unit.control_plane.xds.ads_client import AdsClient


async def test_the_whole(tmp_path: Path) -> None:
    """Policy, Envoys, pools with their endpoints, addresses."""
    async with running(tmp_path) as sidecar, connected(sidecar), admin_of(sidecar) as admin:
        found = await get(admin, "/status")
        assert found["version"]
        assert found["policy"] == {
            "file": str(tmp_path / "policy.yaml"),
            "version": sidecar.state.version,
            "state": "applied",
            "source": "file",
            "diagnostics": [],
            "error": "",
            "file_error": "",
            "fleet_error": "",
            "history_error": "",
        }
        assert [entry["version"] for entry in found["history"]] == [sidecar.state.version]
        assert found["groups"] == {
            "default": {
                "rollout": "rest", "policy_version": sidecar.state.version, "envoys": 1, "state": "pending",
            }
        }  # fmt: skip
        assert (found["quarantine"], found["sources"], found["certificates"]) == ([], [], [])
        (envoy,) = found["envoys"]
        assert (envoy["node"], envoy["connected"]) == ("envoy-1", True)
        assert envoy["types"]["EDS"]["state"] == "SYNCED"
        endpoints = found["pools"]["p"]["endpoints"]
        assert [endpoint["address"] for endpoint in endpoints] == [FIRST, SECOND]
        assert {"health", "in_flight", "waiting", "running"} <= endpoints[0].keys()
        assert found["addresses"] == {
            "xds": sidecar.xds_address,
            "ext_proc": sidecar.ext_proc_address,
            "admin": sidecar.admin_address,
        }


async def test_a_rejected_edit(tmp_path: Path) -> None:
    """The findings have file, line and column; the version is that of the policy in force."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        before = sidecar.state.version
        await edit(sidecar, policy_text().replace("pool: p", "pool: nowhere"))
        policy = (await get(admin, "/status"))["policy"]
        assert (policy["state"], policy["version"]) == ("rejected", before)
        (found,) = policy["diagnostics"]
        assert found["file"] == str(tmp_path / "policy.yaml")
        assert (found["line"], found["severity"]) == (3, "error")
        assert found["column"] > 1
        assert "nowhere" in found["message"]
        assert {"code", "hint"} <= found.keys()
        await edit(sidecar, policy_text(FIRST))
        policy = (await get(admin, "/status"))["policy"]
        assert (policy["state"], policy["diagnostics"]) == ("applied", [])
        assert policy["version"] != before


async def test_of_one_role(tmp_path: Path) -> None:
    """What does not run is empty, not missing; where Envoys are told to find the picker is said all the same."""
    async with running(tmp_path, roles=frozenset({"xds"})) as sidecar, admin_of(sidecar) as admin:
        found = await get(admin, "/status")
        assert (found["pools"], found["addresses"]["ext_proc"]) == ({}, "127.0.0.1:0")
    async with running(tmp_path, roles=frozenset({"picker"})) as sidecar, admin_of(sidecar) as admin:
        found = await get(admin, "/status")
        assert (found["envoys"], found["addresses"]["xds"]) == ([], "")
        assert found["pools"]


async def test_ready_without_an_envoy_of_ours(tmp_path: Path) -> None:
    """With the servers up, traffic may come; nobody knows whether a foreign Envoy will."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert await text(admin, "/readyz") == "ready\n"


def test_nothing_is_ready_before_the_start(tmp_path: Path) -> None:
    """Each role's server is missed by name; a role that is not wanted is not."""
    assert not_ready(Sidecar(options(tmp_path))) == ["picker: not listening", "xds: not listening"]
    assert not_ready(Sidecar(options(tmp_path, roles=frozenset({"xds"})))) == ["xds: not listening"]
    assert not_ready(Sidecar(options(tmp_path, roles=frozenset({"picker"})))) == ["picker: not listening"]


async def test_what_an_envoy_refused_from_the_first_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An Envoy without its first endpoints serves nothing: not ready, and status and log name the policy's line."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        client = EndpointsClient(sidecar.xds_address)
        try:
            await client.refuse(await client.ask(), "pool/p is not to my liking")

            def is_refused() -> bool:
                return any(row["types"]["EDS"]["state"] == "ERROR" for row in status.envoys(sidecar))

            await eventually(is_refused)
            told = await text(admin, "/readyz", status=503)
            assert told == "envoy envoy-1: refused its first EDS: pool/p is not to my liking\n"
            (envoy,) = (await get(admin, "/status"))["envoys"]
            place = f"{tmp_path / 'policy.yaml'}:4:"
            (found,) = envoy["types"]["EDS"]["policy"]
            assert found.startswith(place)
            assert place in caplog.text
        finally:
            await client.close()


async def test_our_envoy_must_run_and_be_connected(tmp_path: Path) -> None:
    """503 names what is missing: it must have its listeners and their routes; also after it has gone."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        sidecar.envoy = EnvoyProcess(tmp_path, {})
        both = "envoy: not running\nenvoy: not connected\n"
        untaken = "envoy: not running\nenvoy: it has not taken its listeners\n"
        assert await text(admin, "/readyz", status=503) == both
        async with connected(sidecar):
            assert await text(admin, "/readyz", status=503) == untaken
        await eventually(lambda: not is_connected(sidecar))
        client = AdsClient(sidecar.xds_address)
        try:
            for kind, names in ((LISTENERS, {}), (ROUTES, {"resourceNames": ["openai"]})):
                await client.send(kind, **names)
                told = await client.receive()
                assert await text(admin, "/readyz", status=503) == untaken
                await client.send(kind, versionInfo=told.version_info, responseNonce=told.nonce, **names)
                await eventually(lambda: not_ready(sidecar) == ["envoy: not running"])
        finally:
            await client.close()
        await eventually(lambda: not is_connected(sidecar))
        assert await text(admin, "/readyz", status=503) == both
