"""The life of a policy in a running sidecar: refused, forced, rolled out in stages, rolled back, restored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from control_plane.fleet.model import Endpoint, Fleet
from control_plane.fleet.sources import FleetSources
from control_plane.sidecar import watch
from control_plane.sidecar.edits import EditRefusedError, Edits, NoSuchVersionError
from control_plane.sidecar.sidecar import Sidecar
from control_plane.sidecar.start import PolicyInvalidError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from protos.messages import load as load_messages
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import (
    FIRST,
    SECOND,
    THIRD,
    Clock,
    connected,
    edit,
    named,
    options,
    policy_text,
    running,
)
from tests.unit.control_plane.xds.ads_client import AdsClient

CANARY = "groups: [{name: canary, appliesTo: {nodeId: {prefix: canary-}}, rollout: first}]\nsafety: {soak: 5s}\n"
MANY = tuple(f"127.0.0.1:{port}" for port in range(1, 9))


def edits_of(sidecar: Sidecar) -> Edits:
    """Its edits."""
    assert sidecar.edits is not None
    return sidecar.edits


def history(sidecar: Sidecar) -> list[tuple[str, str]]:
    """Version and state, oldest first."""
    return [(entry.version, entry.state) for entry in edits_of(sidecar).history()]


def move(sidecar: Sidecar, seconds: float) -> None:
    """Time passes."""
    assert isinstance(sidecar.clock, Clock)
    sidecar.clock.now += seconds


@asynccontextmanager
async def restarted(directory: Path, text: str | None = None, **changes: Any) -> AsyncIterator[Sidecar]:
    """A sidecar whose state outlives it, under this policy or the one that is there."""
    content = (directory / "policy.yaml").read_text() if text is None else text
    async with running(directory, content, state_dir=directory / "state", **changes) as sidecar:
        yield sidecar


class Envoy:
    """An Envoy that asks for everything and answers as it is told. Mutable: what it was sent last."""

    def __init__(self, address: str, node: str) -> None:
        self.ads = AdsClient(address, node=node)
        self.last: dict[str, Any] = {}

    async def ask(self) -> None:
        """Subscribes to everything, accepting it."""
        for type_url, names in ((CLUSTERS, []), (ENDPOINTS, ["pool/p"]), (LISTENERS, []), (ROUTES, ["openai"])):
            await self.ads.send(type_url, resourceNames=names)
            await self.answer()

    async def answer(self, error: str = "") -> str:
        """Takes one response and accepts it, or refuses it; its type."""
        response = await self.ads.receive()
        names = {ENDPOINTS: ["pool/p"], ROUTES: ["openai"]}.get(response.type_url, [])
        answer: dict[str, Any] = {"resourceNames": names, "responseNonce": response.nonce}
        if error:
            answer["errorDetail"] = {"code": 3, "message": error}
        else:
            answer["versionInfo"] = response.version_info
            self.last[response.type_url] = response
        await self.ads.send(response.type_url, **answer)
        return str(response.type_url)

    def ports(self) -> list[int]:
        """Those of the endpoints that it accepted last."""
        message: Any = load_messages()["envoy.config.endpoint.v3.ClusterLoadAssignment"]
        found = message.FromString(self.last[ENDPOINTS].resources[0].value)
        return [
            one.endpoint.address.socket_address.port_value for group in found.endpoints for one in group.lb_endpoints
        ]


@asynccontextmanager
async def envoy(sidecar: Sidecar, node: str) -> AsyncIterator[Envoy]:
    """A connected Envoy that has everything."""
    client = Envoy(sidecar.xds_address, node)
    try:
        await client.ask()
        yield client
    finally:
        await client.ads.close()


class TestGuard:
    """Too much at once."""

    async def test_refused_and_forced(self, tmp_path: Path) -> None:
        """An edit that takes most endpoints away changes nothing until it is forced."""
        async with running(tmp_path, policy_text(*MANY)) as sidecar:
            before = sidecar.state.version
            await edit(sidecar, policy_text(FIRST))
            assert (sidecar.state.state, sidecar.state.version) == ("refused", before)
            assert sidecar.state.error.startswith("7 of 8 endpoints would be removed, more than 50 %")
            assert named(sidecar) == list(MANY)
            sidecar.options.policy.write_text(policy_text(FIRST))
            with pytest.raises(EditRefusedError, match="7 of 8"):
                await edits_of(sidecar).reload(force=False)
            await edits_of(sidecar).reload(force=True)
            assert (sidecar.state.state, sidecar.state.error) == ("applied", "")
            assert named(sidecar) == [FIRST]

    async def test_a_policy_may_allow_it(self, tmp_path: Path) -> None:
        """The bound is the new policy's own."""
        async with running(tmp_path, policy_text(*MANY)) as sidecar:
            await edit(sidecar, policy_text(FIRST) + "safety: {maxRemovedPercent: 100}\n")
            assert sidecar.state.state == "applied"

    async def test_a_discovery_result(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Too few are refused pool by pool and told; enough are taken; forced, all of it is."""
        async with running(tmp_path, policy_text(*MANY)) as sidecar:
            found = {"now": MANY}

            def fleet(self: object) -> Fleet:
                return Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in found["now"])})

            assert sidecar.sources is not None
            monkeypatch.setattr(type(sidecar.sources), "fleet", property(fleet))
            for now, served in ((MANY[:2], MANY), (MANY[:6], MANY[:6]), ((), MANY[:6])):
                found["now"] = now
                sidecar._fleet_changed(frozenset({"p"}))
                assert named(sidecar) == list(served)
                assert bool(sidecar.state.fleet_error) == (served != now)
            await edits_of(sidecar).reload(force=True)
            assert named(sidecar) == []
            assert sidecar.state.fleet_error == ""

    async def test_an_edit_does_not_let_in_what_was_held_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither an edit of something else nor a rollback is the order to take a doubtful result of discovery; one
        that itself takes too much away is refused by what there really is, not by what the policy names."""

        def found(*addresses: str) -> None:
            fleet = Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in addresses)})
            monkeypatch.setattr(FleetSources, "fleet", property(lambda self: fleet))
            monkeypatch.setattr(FleetSources, "fleet_for", lambda self, policy: fleet)

        listed = policy_text(FIRST).replace(f"{{address: {FIRST}}}", "{dns: many.internal:8000}")
        found(*MANY)
        async with restarted(tmp_path, listed) as sidecar:
            found(FIRST)
            sidecar._fleet_changed(frozenset({"p"}))
            assert sidecar.state.fleet_error
            await edit(sidecar, listed + "runtime: {a: 1}\n")
            assert sidecar.state.state == "applied"
            assert named(sidecar) == list(MANY)
            assert sidecar.slow_loop is not None
            assert len(sidecar.slow_loop.fleet.pools["p"]) == len(MANY)
            assert sidecar.state.fleet_error
            await edits_of(sidecar).rollback()
            assert named(sidecar) == list(MANY)
            await edit(sidecar, listed.replace("many.internal", "few.internal"))
            assert (sidecar.state.state, named(sidecar)) == ("refused", list(MANY))
            assert "7 of 8 endpoints" in sidecar.state.error
            await edits_of(sidecar).reload(force=True)
            assert (named(sidecar), sidecar.state.fleet_error) == ([FIRST], "")

    async def test_the_same_endpoints_in_other_words(self, tmp_path: Path) -> None:
        """A list that becomes a file with the same addresses takes nothing away."""
        (tmp_path / "targets.json").write_text(f'[{{"targets": {list(MANY)!r}}}]'.replace("'", '"'))
        async with running(tmp_path, policy_text(*MANY)) as sidecar:
            text = policy_text(FIRST).replace(f"{{address: {FIRST}}}", "{file: targets.json}")
            await edit(sidecar, text)
            assert (sidecar.state.state, sidecar.state.error) == ("applied", "")
            assert named(sidecar) == list(MANY)

    async def test_discovery_reaches_envoy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new endpoint is pushed alone, and named when Envoy has it; also where it is made in a thread."""
        monkeypatch.setattr("control_plane.sidecar.endpoints_lane.INLINE_ENDPOINTS", 1)
        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar) as client:
            both = Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in (FIRST, SECOND))})
            assert sidecar.sources is not None
            monkeypatch.setattr(type(sidecar.sources), "fleet", property(lambda self: both))
            sidecar._fleet_changed(frozenset({"p"}))
            pushed = await client.receive()
            assert named(sidecar) == [FIRST]
            await client.accept(pushed)
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])


class TestStages:
    """A group that goes first."""

    async def test_promotion(self, tmp_path: Path) -> None:
        """The picker knows both policies meanwhile; the rest gets the new one after the soak."""
        async with (
            restarted(tmp_path, policy_text(FIRST) + CANARY) as sidecar,
            envoy(sidecar, "canary-1") as canary,
            envoy(sidecar, "other") as rest,
        ):
            await edit(sidecar, policy_text(FIRST, SECOND) + CANARY)
            assert sidecar.state.state == "rolling-out"
            assert await canary.answer() == ENDPOINTS
            assert canary.ports() == [1, 2]
            assert rest.ports() == [1]
            assert named(sidecar) == [FIRST], "the rest does not have the other one"
            assert sidecar.slow_loop is not None
            loop = sidecar.slow_loop
            await eventually(lambda: loop.rollout.deadline() == sidecar.clock() + 5.0)
            move(sidecar, 5.0)
            assert await rest.answer() == ENDPOINTS
            assert rest.ports() == [1, 2]
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])
            assert sidecar.state.state == "applied"
            assert [state for _, state in history(sidecar)] == ["applied", "applied"]

    async def test_a_broken_edit_meanwhile(self, tmp_path: Path) -> None:
        """The rollout goes on, and when it is over the file is still not what is served."""
        async with running(tmp_path, policy_text(FIRST) + CANARY) as sidecar, envoy(sidecar, "canary-1") as canary:
            await edit(sidecar, policy_text(SECOND) + CANARY)
            candidate = sidecar.state.version
            await canary.answer()
            await edit(sidecar, policy_text(THIRD) + CANARY + "nonsense: 1\n")
            assert sidecar.state.state == "rejected"
            assert sidecar.slow_loop is not None
            loop = sidecar.slow_loop
            await eventually(lambda: loop.rollout.deadline() == sidecar.clock() + 5.0)
            move(sidecar, 5.0)
            await eventually(lambda: loop.stable.version == candidate and history(sidecar)[-1][1] == "applied")
            assert (sidecar.state.state, sidecar.state.version) == ("rejected", candidate)
            assert sidecar.state.diagnostics

    async def test_refusal(self, tmp_path: Path) -> None:
        """Everything is as before, and the version counts as rolled back, also for the next start."""
        async with restarted(tmp_path, policy_text(FIRST) + CANARY) as sidecar:
            before = sidecar.state.version
            async with envoy(sidecar, "canary-1") as canary, envoy(sidecar, "other") as rest:
                sidecar.options.policy.write_text(policy_text(SECOND) + CANARY)
                await edits_of(sidecar).reload(force=False)
                await canary.answer("pool/p is bad")
                await eventually(lambda: sidecar.state.state == "rolled-back")
                assert sidecar.state.version == before
                assert "canary-1 refused EDS pool/p: pool/p is bad" in sidecar.state.error
                assert await canary.answer() == ENDPOINTS
                assert canary.ports() == [1]
                assert rest.ports() == [1]
                assert named(sidecar) == [FIRST]
                assert [state for _, state in history(sidecar)] == ["applied", "rolled-back"]
        async with restarted(tmp_path) as sidecar:
            assert (sidecar.state.state, sidecar.state.source) == ("rolled-back", "last-good")
            assert sidecar.state.version == before
            await edits_of(sidecar).reload(force=True)
            assert (sidecar.state.state, named(sidecar)) == ("applied", [SECOND])

    async def test_an_edit_while_it_was_down(self, tmp_path: Path) -> None:
        """The start is with the last good policy, and the file comes as an edit: the first groups have it."""
        async with restarted(tmp_path, policy_text(FIRST) + CANARY) as sidecar:
            before = sidecar.state.version
        async with restarted(tmp_path, policy_text(FIRST, SECOND) + CANARY) as sidecar:
            assert sidecar.slow_loop is not None
            assert sidecar.state.state == "rolling-out"
            assert sidecar.slow_loop.stable.version == before
            assert sidecar.slow_loop.document.version == sidecar.state.version != before


class TestHistory:
    """Back to an earlier policy, by order or after a restart."""

    async def test_rollback(self, tmp_path: Path) -> None:
        """To the previous one or to a named one; what was left counts as rolled back until it is forced."""
        async with restarted(tmp_path, policy_text(FIRST)) as sidecar:
            first = sidecar.state.version
            with pytest.raises(EditRefusedError, match="no earlier version"):
                await edits_of(sidecar).rollback()
            await edit(sidecar, policy_text(SECOND))
            second = sidecar.state.version
            with pytest.raises(NoSuchVersionError, match="nothing"):
                await edits_of(sidecar).rollback("nothing")
            with pytest.raises(EditRefusedError, match="served already"):
                await edits_of(sidecar).rollback(second)
            assert await edits_of(sidecar).rollback() == first
            assert (sidecar.state.state, sidecar.state.source) == ("rolled-back", "history")
            assert named(sidecar) == [FIRST]
            assert history(sidecar) == [(second, "rolled-back"), (first, "applied")]
            assert await edits_of(sidecar).rollback(second) == second
            assert named(sidecar) == [SECOND]

    async def test_a_broken_file_at_the_start(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The last good policy is served, log and findings are about the file; mending the file is an edit."""
        async with restarted(tmp_path, policy_text(FIRST)) as sidecar:
            good = sidecar.state.version
        async with restarted(tmp_path, policy_text(FIRST).replace("pool: p", "pool: nowhere")) as sidecar:
            assert (sidecar.state.state, sidecar.state.source, sidecar.state.version) == ("rejected", "last-good", good)
            assert [found.line for found in sidecar.state.diagnostics] == [3]
            assert "policy.yaml:3:" in caplog.text
            assert f"is not served: it has errors; serving the last good policy {good}" in caplog.text
            assert named(sidecar) == [FIRST]
            await edit(sidecar, policy_text(SECOND))
            assert (sidecar.state.state, sidecar.state.source) == ("applied", "file")

    async def test_a_missing_file_at_the_start(self, tmp_path: Path) -> None:
        """Said in words; the last good policy is served."""
        async with restarted(tmp_path, policy_text(FIRST)):
            pass
        missing = tmp_path / "policy.yaml"
        missing.unlink()
        sidecar = Sidecar(
            type(options(tmp_path))(
                policy=missing.with_name("gone.yaml"),
                xds="127.0.0.1:0",
                ext_proc="127.0.0.1:0",
                admin="127.0.0.1:0",
                state_dir=tmp_path / "state",
            ),
            clock=Clock(),
        )
        await sidecar.start()
        try:
            assert "gone.yaml: No such file" in sidecar.state.error
            assert named(sidecar) == [FIRST]
        finally:
            await sidecar.stop()

    async def test_a_broken_file_and_no_history(self, tmp_path: Path) -> None:
        """There is nothing to serve."""
        sidecar = Sidecar(options(tmp_path, "kvpilot: v1\n", state_dir=tmp_path / "state"))
        with pytest.raises(PolicyInvalidError):
            await sidecar.start()

    async def test_refusals_outlive_a_restart(self, tmp_path: Path) -> None:
        """What an Envoy refused is not sent to the next one either; what had been accepted is."""
        async with restarted(tmp_path, policy_text(FIRST)) as sidecar, envoy(sidecar, "a") as client:
            await eventually(lambda: any(entry.accepted for entry in edits_of(sidecar).history()))
            sidecar.options.policy.write_text(policy_text(SECOND))
            await edits_of(sidecar).reload(force=False)
            await client.answer("pool/p is bad")
            assert sidecar.slow_loop is not None
            loop = sidecar.slow_loop
            await eventually(lambda: bool(loop.quarantine.rejections()))
            await asyncio.sleep(0)
        async with restarted(tmp_path) as sidecar, envoy(sidecar, "b") as client:
            assert sidecar.state.state == "applied"
            assert client.ports() == [1]
            assert sidecar.slow_loop is not None
            ((_, held),) = sidecar.slow_loop.overview.held_back()
            assert (held.rejected.name, held.rejected.error) == ("pool/p", "pool/p is bad")

    async def test_an_edit_that_is_no_policy_any_more(self, tmp_path: Path) -> None:
        """A version in the history that this program cannot read is refused, and nothing changes."""
        async with restarted(tmp_path, policy_text(FIRST)) as sidecar:
            edits_of(sidecar)._parts.history.record("old", (("policy.yaml", b"kvpilot: v0\n"),), "applied", 0.0)
            with pytest.raises(EditRefusedError, match="errors in this kvpilot"):
                await edits_of(sidecar).rollback("old")
            assert named(sidecar) == [FIRST]


async def test_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last is served on, and does not count as well until the file is there again."""
    monkeypatch.setattr(watch, "LOST_POLLS", 1)
    async with running(tmp_path) as sidecar:
        policy, version = tmp_path / "policy.yaml", sidecar.state.version
        policy.rename(tmp_path / "away")
        await eventually(lambda: not sidecar.state.is_successful)
        assert sidecar.state.file_error == f"{policy}: No such file or directory"
        assert (sidecar.state.state, sidecar.state.version) == ("applied", version)
        (tmp_path / "away").rename(policy)
        await eventually(lambda: sidecar.state.is_successful)
        assert sidecar.state.file_error == ""
        assert sidecar.state.reloads_applied == 0
