"""The sidecar as a whole: start, edits, stop, with real servers and a clock that the test moves."""

import asyncio
import socket
from pathlib import Path

import pytest

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.sidecar import builds
from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError
from control_plane.sidecar.handover import SYNC_TIMEOUT_S
from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
from control_plane.sidecar.picker_lane import SYNC_POLL_S
from control_plane.sidecar.sidecar import Sidecar, start_errors
from control_plane.sidecar.start import PolicyInvalidError, PolicyUnreadableError
from ext_proc.core.address import parse_address
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import (
    BOTH_ROLES,
    FIRST,
    SECOND,
    THIRD,
    Clock,
    connected,
    edit,
    is_connected,
    named,
    options,
    policy_text,
    running,
    states,
)

BROKEN = policy_text().replace("pool: p", "pool: nowhere")
SEVERAL_POLLS_S = 5 * SYNC_POLL_S
"""Long enough that an admission which must not happen would have happened."""


def clock_of(sidecar: Sidecar) -> Clock:
    """The clock that the test moves."""
    assert isinstance(sidecar.clock, Clock)
    return sidecar.clock


def is_listening(address: str) -> bool:
    """Whether somebody accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def tasks() -> set[str]:
    """Names of the tasks that live beside this one."""
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


class TestStart:
    """What a start brings up, and what is left of one that fails."""

    @pytest.mark.parametrize("roles", [{"xds", "picker"}, {"xds"}, {"picker"}])
    async def test_roles(self, tmp_path: Path, roles: set[str]) -> None:
        """Each role brings its server and no other; the admin server is always there."""
        async with running(tmp_path, roles=frozenset(roles)) as sidecar:
            assert (sidecar.xds is not None) == bool(sidecar.xds_address) == ("xds" in roles)
            assert (sidecar.picker is not None) == bool(sidecar.ext_proc_address) == ("picker" in roles)
            for address in (sidecar.xds_address, sidecar.ext_proc_address, sidecar.admin_address):
                assert not address or is_listening(address)
            assert sidecar.admin_address
            assert (sidecar.state.state, sidecar.state.error) == ("applied", "")

    async def test_without_a_picker_the_clusters_point_at_the_given_address(self, tmp_path: Path) -> None:
        """Under `--roles xds` Envoy is sent to `--ext-proc`, which somebody else serves."""
        async with running(tmp_path, roles=frozenset({"xds"}), ext_proc="127.0.0.1:7777") as sidecar:
            assert sidecar.slow_loop is not None
            assert sidecar.slow_loop._services.ext_proc == parse_address("127.0.0.1:7777")

    async def test_a_broken_policy(self, tmp_path: Path) -> None:
        """All findings are in the error, and nothing was started."""
        sidecar = Sidecar(options(tmp_path, BROKEN))
        with pytest.raises(PolicyInvalidError, match="nowhere") as raised:
            await sidecar.start()
        assert raised.value.diagnostics
        assert isinstance(raised.value, start_errors())
        assert not tasks()

    async def test_a_missing_policy(self, tmp_path: Path) -> None:
        """The path is in the error."""
        with pytest.raises(PolicyUnreadableError, match=r"nothing\.yaml"):
            await Sidecar(SidecarOptions(policy=tmp_path / "nothing.yaml")).start()

    @pytest.mark.parametrize("server", ["ext_proc", "xds", "admin"])
    async def test_a_taken_port_stops_what_had_started(self, tmp_path: Path, server: str) -> None:
        """The error is one for an operator, names the address, and no server and no task is left."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            sidecar = Sidecar(options(tmp_path, **{server: address}))
            with pytest.raises(start_errors(), match=address):
                await sidecar.start()
            for started in (sidecar.ext_proc_address, sidecar.xds_address):
                assert not started or not is_listening(started)
            assert not tasks()

    async def test_a_listener_that_somebody_else_has(self, tmp_path: Path) -> None:
        """Envoy would share the port in silence with another Envoy; it is refused before ours is started."""
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            text = policy_text().replace("127.0.0.1:8080", address)
            envoy = EnvoyOptions(directory=tmp_path / "state", template=bootstrap_template(), disposable=True)
            sidecar = Sidecar(options(tmp_path, text, envoy=envoy))
            with pytest.raises(start_errors(), match=address):
                await sidecar.start()
            assert not tasks()

    async def test_an_envoy_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        """A state directory where a file lies is told in one line; what had started is stopped."""
        (tmp_path / "file").touch()
        envoy = EnvoyOptions(directory=tmp_path / "file" / "state", template=bootstrap_template())
        sidecar = Sidecar(options(tmp_path, envoy=envoy))
        with pytest.raises(EnvoyUnavailableError, match="file"):
            await sidecar.start()
        assert not is_listening(sidecar.admin_address)
        assert not tasks()


class TestStop:
    """Stop may come at any time."""

    async def test_twice(self, tmp_path: Path) -> None:
        """The second stop does nothing, and after the first nothing listens and no task lives."""
        async with running(tmp_path) as sidecar:
            await sidecar.stop()
            for address in (sidecar.xds_address, sidecar.ext_proc_address, sidecar.admin_address):
                assert not is_listening(address)
            assert not tasks()
            await sidecar.stop()

    async def test_before_the_start(self, tmp_path: Path) -> None:
        """There is nothing to stop."""
        await Sidecar(options(tmp_path)).stop()

    async def test_while_additions_wait(self, tmp_path: Path) -> None:
        """An edit that Envoy has not confirmed does not hold up the stop."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar):
            await edit(sidecar, policy_text(FIRST, SECOND))
            await sidecar.stop()
            assert "admit additions" not in tasks()
            assert named(sidecar) == [FIRST]


class TestEdits:
    """Last good beats latest."""

    async def test_an_edit_of_the_file_is_applied(self, tmp_path: Path) -> None:
        """What is written over the policy file arrives in state, picker and control plane, without a restart."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar:
            before = sidecar.state.version
            sidecar.options.policy.write_text(policy_text(SECOND, strategy="least-request"))
            await eventually(lambda: sidecar.state.reloads_applied == 1)
            await eventually(lambda: named(sidecar) == [SECOND])
            assert sidecar.state.version != before
            assert sidecar.slow_loop is not None
            assert sidecar.slow_loop.document.version == sidecar.state.version

    async def test_a_broken_edit_changes_nothing(self, tmp_path: Path) -> None:
        """The last good version is still served; the findings of the edit are told and counted."""
        async with running(tmp_path) as sidecar:
            before = sidecar.state.version
            await edit(sidecar, BROKEN)
            state = sidecar.state
            assert (state.state, state.version, state.error) == ("rejected", before, "")
            assert [(found.line, found.severity) for found in state.diagnostics] == [(3, "error")]
            assert (state.reloads_applied, state.reloads_rejected) == (0, 1)
            assert named(sidecar) == [FIRST, SECOND]
            assert sidecar.slow_loop is not None
            assert sidecar.slow_loop.document.version == before

    async def test_back_to_good_after_a_broken_edit(self, tmp_path: Path) -> None:
        """Undoing the mistake is an edit like any other, and clears what was told of it."""
        async with running(tmp_path) as sidecar:
            await edit(sidecar, BROKEN)
            await edit(sidecar, policy_text())
            assert (sidecar.state.state, sidecar.state.diagnostics) == ("applied", ())
            assert (sidecar.state.reloads_applied, sidecar.state.reloads_rejected) == (1, 1)

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"kvpilot: v1\n" * 3, b"- [" * 5000])
    async def test_any_bytes_are_survived(self, tmp_path: Path, content: bytes) -> None:
        """Whatever lies in the file: rejected with a finding, and the watch goes on."""
        async with running(tmp_path) as sidecar:
            assert sidecar.edits is not None
            await sidecar.edits.changed(((str(sidecar.options.policy), content),))
            assert sidecar.state.state == "rejected"
            assert sidecar.state.diagnostics
            assert named(sidecar) == [FIRST, SECOND]

    async def test_an_edit_that_cannot_be_compiled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A compiler that trips costs the edit: neither picker nor control plane change, and the reason is told."""

        def trip(*_: object, **__: object) -> None:
            raise RuntimeError("tripped")

        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar):
            before = sidecar.state.version
            with monkeypatch.context() as patch:
                patch.setattr(builds, "compile_snapshot", trip)
                await edit(sidecar, policy_text(SECOND))
            assert (sidecar.state.state, sidecar.state.version) == ("rejected", before)
            assert sidecar.state.error == "RuntimeError: tripped"
            assert named(sidecar) == [FIRST]
            assert states(sidecar) == ["SYNCED"]
            await edit(sidecar, policy_text(SECOND))
            assert (sidecar.state.state, sidecar.state.error) == ("applied", "")

    async def test_without_a_picker(self, tmp_path: Path) -> None:
        """Under `--roles xds` an edit is compiled and pushed."""
        async with (
            running(tmp_path, policy_text(FIRST), roles=frozenset({"xds"})) as sidecar,
            connected(sidecar) as envoy,
        ):
            await edit(sidecar, policy_text(FIRST, SECOND))
            assert (await envoy.receive()).resources

    async def test_without_a_control_plane(self, tmp_path: Path) -> None:
        """Under `--roles picker` nobody here pushes, so nothing is waited for."""
        async with running(tmp_path, policy_text(FIRST), roles=frozenset({"picker"})) as sidecar:
            await edit(sidecar, policy_text(FIRST, SECOND))
            assert named(sidecar) == [FIRST, SECOND]


class TestAdditions:
    """A pick names nothing that Envoy has not got yet; removals do not wait."""

    async def test_admitted_after_the_ack(self, tmp_path: Path) -> None:
        """The removed endpoint leaves at once, the added one comes with Envoy's ACK, and not before."""
        async with running(tmp_path, policy_text(FIRST, SECOND)) as sidecar, connected(sidecar) as envoy:
            await edit(sidecar, policy_text(SECOND, THIRD))
            assert named(sidecar) == [SECOND]
            pushed = await envoy.receive()
            await asyncio.sleep(SEVERAL_POLLS_S)
            assert named(sidecar) == [SECOND]
            await envoy.accept(pushed)
            await eventually(lambda: named(sidecar) == [SECOND, THIRD])

    async def test_admitted_when_the_wait_is_over(self, tmp_path: Path) -> None:
        """A silent Envoy does not hold additions back for longer than the bound."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar):
            await edit(sidecar, policy_text(FIRST, SECOND))
            await asyncio.sleep(SEVERAL_POLLS_S)  # the wait has begun
            clock_of(sidecar).now += SYNC_TIMEOUT_S - 0.1
            await asyncio.sleep(SEVERAL_POLLS_S)
            assert named(sidecar) == [FIRST]
            clock_of(sidecar).now += 0.2
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])

    async def test_a_refusal_is_an_answer(self, tmp_path: Path) -> None:
        """An Envoy that NACKs must not hold back the picks for another one."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar) as envoy:
            await edit(sidecar, policy_text(FIRST, SECOND))
            await envoy.refuse(await envoy.receive(), "no")
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])

    async def test_a_second_edit_does_not_admit_the_first_ones_additions(self, tmp_path: Path) -> None:
        """Two edits before any ACK: what Envoy has is still the first policy, and only that may be named."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar, connected(sidecar) as envoy:
            await edit(sidecar, policy_text(FIRST, SECOND))
            await edit(sidecar, policy_text(FIRST, SECOND, THIRD))
            assert named(sidecar) == [FIRST]
            await envoy.accept(await envoy.receive())
            await envoy.accept(await envoy.receive())
            await eventually(lambda: named(sidecar) == [FIRST, SECOND, THIRD])

    async def test_an_envoy_that_has_gone_is_not_waited_for(self, tmp_path: Path) -> None:
        """Its last state is remembered as stale, but nobody is there to change it."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar:
            async with connected(sidecar) as envoy:
                await edit(sidecar, policy_text(FIRST, SECOND))
                await envoy.receive()
            await eventually(lambda: not is_connected(sidecar))
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])
            await edit(sidecar, policy_text(FIRST, SECOND, THIRD))
            await eventually(lambda: named(sidecar) == [FIRST, SECOND, THIRD])

    async def test_nobody_connected(self, tmp_path: Path) -> None:
        """Without any Envoy there is nothing to wait for."""
        async with running(tmp_path, policy_text(FIRST), roles=BOTH_ROLES) as sidecar:
            await edit(sidecar, policy_text(FIRST, SECOND))
            await eventually(lambda: named(sidecar) == [FIRST, SECOND])


async def test_the_end_of_our_envoy_is_noticed(tmp_path: Path) -> None:
    """Without an Envoy of ours it is waited for ever; one that does not run has ended."""
    sidecar = Sidecar(options(tmp_path))
    waiting = asyncio.create_task(sidecar.envoy_ended())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    sidecar.envoy = EnvoyProcess(tmp_path, {})
    async with asyncio.timeout(5):
        await sidecar.envoy_ended()
