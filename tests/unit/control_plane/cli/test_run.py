"""`kvpilot run`: its options, its state directory, its end."""

import asyncio
import json
import logging
import urllib.request
from asyncio import to_thread
from pathlib import Path

import pytest

from control_plane.cli import EX_USAGE, build_parser, main, run
from control_plane.sidecar.envoy_process import EnvoyProcess
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.core.address import SocketAddress
from tests.unit.control_plane.cli.long_running import until_sigterm
from tests.unit.control_plane.sidecar.in_process import BOTH_ROLES, options, policy_text

FREE = ("--xds", "127.0.0.1:0", "--ext-proc", "127.0.0.1:0", "--admin", "127.0.0.1:0")


def test_defaults() -> None:
    """The addresses of the contract, both roles, an Envoy of ours over delta xDS."""
    args = build_parser().parse_args(["run", "policy.yaml"])
    assert (args.xds, args.ext_proc, args.admin) == ("127.0.0.1:18000", "127.0.0.1:9002", "127.0.0.1:9909")
    assert args.load_reports is None
    assert (args.roles, args.no_envoy, args.ads, args.state_dir) == (BOTH_ROLES, False, "delta", None)


@pytest.mark.parametrize(("words", "roles"), [("xds", {"xds"}), ("picker", {"picker"}), ("picker,xds", BOTH_ROLES)])
def test_roles(words: str, roles: set[str]) -> None:
    """One or both, in any order."""
    assert build_parser().parse_args(["run", "p", "--roles", words]).roles == roles


@pytest.mark.parametrize(
    "words",
    [["--roles", ""], ["--roles", "xds,"], ["--roles", "picker,nothing"], ["--ads", "grpc"]]
    + [[flag, "nonsense"] for flag in ("--xds", "--ext-proc", "--admin", "--load-reports", "--envoy-admin", "--dns")]
    + [["--admin", "localhost:80"], ["--xds", "127.0.0.1:65536"], ["--envoy-admin", "unix:/tmp/envoy.sock"]],
)
def test_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """64, and the option that is at fault is named; nothing was started."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "no-such-policy.yaml", *words])
    assert ended.value.code == EX_USAGE
    assert words[0] in capsys.readouterr().err


def test_load_reports_are_for_the_picker(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one in this process the option is wrong use; nothing was started."""
    words = ["run", "no-such-policy.yaml", "--no-envoy", "--roles", "xds", "--load-reports", "127.0.0.1:0"]
    assert main(words) == EX_USAGE
    assert "needs the role `picker`" in capsys.readouterr().err


def test_addresses_may_be_unix_sockets() -> None:
    """All three of our servers can listen on one."""
    for flag, name in (("--xds", "xds"), ("--ext-proc", "ext_proc"), ("--admin", "admin")):
        args = build_parser().parse_args(["run", "p", flag, "unix:/run/kvpilot.sock"])
        assert getattr(args, name) == "unix:/run/kvpilot.sock"


def test_the_name_server() -> None:
    """An address with its port; without the option it is the machine's own choice."""
    words = ["run", "p", "--dns", "[::1]:5353"]
    assert run.name_server(build_parser().parse_args(words).dns) == SocketAddress("::1", 5353)
    assert run.name_server(build_parser().parse_args(["run", "p"]).dns) is None


def test_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under XDG_STATE_HOME or its default; the same however the policy's path is written, another for each policy."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = run.default_state_dir(Path("policy.yaml"))
    assert found.parent == tmp_path / "kvpilot"
    assert found == run.default_state_dir(tmp_path / "policy.yaml")
    assert found != run.default_state_dir(Path("other.yaml"))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run.default_state_dir(Path("policy.yaml")).parent == tmp_path / "home" / ".local" / "state" / "kvpilot"


async def test_serves_until_sigterm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says where it listens, answers there, and SIGTERM ends it with status 0."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy_text())
    args = build_parser().parse_args(["run", str(policy), "--no-envoy", *FREE])

    def told() -> list[str]:
        return [line for line in caplog.messages if line.startswith("serving admin ")]

    with caplog.at_level(logging.INFO, "kvpilot"):
        async with until_sigterm(run._serve(args), lambda: bool(told())):
            url = f"http://{told()[0].split()[2]}"
            with await to_thread(urllib.request.urlopen, f"{url}/status", timeout=10) as response:
                assert json.load(response)["policy"]["state"] == "applied"
        assert "stopping" in caplog.messages


async def test_the_end_of_our_envoy_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An Envoy that ended by itself ends the verb with status 1, and its log is named."""
    sidecar = Sidecar(options(tmp_path))
    sidecar.envoy = EnvoyProcess(tmp_path, {})
    with caplog.at_level(logging.INFO, "kvpilot"):
        assert await run._until_stopped(sidecar, asyncio.Event()) == 1
    assert any(str(sidecar.envoy.log_path) in line for line in caplog.messages)


async def test_a_second_signal_ends_the_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that still run are not waited for any longer, and that is no failure."""
    sidecar, waiting = Sidecar(options(tmp_path)), asyncio.Event()

    async def part(_: Sidecar, limit_s: float) -> None:
        assert limit_s == 30.0
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Sidecar, "part", part)
    stopped = asyncio.Event()
    stopped.set()
    ending = asyncio.create_task(run._until_stopped(sidecar, stopped, 30.0))
    await waiting.wait()
    assert not ending.done()
    stopped.set()
    assert await ending == 0
