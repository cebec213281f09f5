"""Setting the stage: addresses, the policy, what a user is told."""

import asyncio
import io
import json
import shlex
import socket
from pathlib import Path

import pytest
from rich.console import Console

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.demo import run
from control_plane.demo.pod_process import PodNotStartedError, PodProcess
from control_plane.demo.run import (
    ALIAS,
    MODEL,
    DemoError,
    DemoOptions,
    Stage,
    check_listen,
    check_writable,
    play,
    policy_text,
    start_errors,
)
from control_plane.policy import load
from control_plane.sidecar.options import SidecarOptions
from control_plane.sidecar.sidecar import Sidecar
from control_plane.sidecar.start import PolicyInvalidError


def pods(*addresses: str) -> list[PodProcess]:
    """Pods that are said to be there, in two zones."""
    made = []
    for number, address in enumerate(addresses):
        pod = PodProcess(models=(MODEL,), zone=run.ZONES[number % 2])
        pod.address = address
        made.append(pod)
    return made


@pytest.mark.parametrize("strategy", ["kv-aware", "round-robin"])
@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "0.0.0.0:80", "[::1]:8080", "[::]:8080"])
def test_the_policy_is_valid(listen: str, strategy: str) -> None:
    """kvpilot's own check has nothing to say about it, and it means what it should."""
    result = load(policy_text(listen, pods("127.0.0.1:1", "127.0.0.1:2"), strategy), "policy.yaml")
    assert result.diagnostics == ()
    assert result.document is not None
    policy = result.document.policy
    assert str(policy.listeners[0].address) == listen
    for name in (MODEL, ALIAS):
        model = policy.model(name)
        assert model is not None
        assert [target.pool for target in model.route] == ["chat"]
    (pool,) = policy.pools
    assert pool.picker.strategy == strategy
    assert [(one.address, one.zone) for one in pool.static_endpoints] == [
        ("127.0.0.1:1", "zone-a"),
        ("127.0.0.1:2", "zone-b"),
    ]


def stage(directory: Path) -> Stage:
    """A stage on which nothing runs."""
    policy = directory / "policy.yaml"
    sidecar = Sidecar(SidecarOptions(policy=policy))
    sidecar.admin_address = "127.0.0.1:9909"
    return Stage(pods("127.0.0.1:1"), sidecar, policy, "127.0.0.1:8080")


def test_an_edit_changes_the_strategy_alone(tmp_path: Path) -> None:
    """The third act's edit is one word of the file."""
    acting = stage(tmp_path)
    acting.write_policy("kv-aware")
    before = acting.policy.read_text()
    acting.write_policy("round-robin")
    assert acting.policy.read_text() == before.replace("kv-aware", "round-robin")


def test_the_invitation(tmp_path: Path) -> None:
    """One line to send a request, one to see the decision, the file to edit; never wrapped, so they can be pasted."""
    out = io.StringIO()
    run._invite(Console(file=out, width=40), stage(tmp_path))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    (request,) = (line for line in lines if line.startswith("curl -i "))
    assert shlex.split(request)[:3] == ["curl", "-i", "http://127.0.0.1:8080/v1/chat/completions"]
    assert json.loads(shlex.split(request)[-1]) == {
        "model": ALIAS,
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
    }
    assert "curl 'http://127.0.0.1:9909/decisions?limit=1'" in lines
    assert f"edit {tmp_path / 'policy.yaml'}" in lines
    assert "admin: http://127.0.0.1:9909/" in lines


def test_a_free_address() -> None:
    """Nothing is said, and nothing stays bound."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
    check_listen("--listen", address)
    check_listen("--listen", address)


def test_a_taken_address() -> None:
    """The address, the reason and the flag that helps are told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DemoError, match=f"{address}: another process listens .*--listen HOST:PORT"):
            check_listen("--listen", address)


def test_an_address_of_another_machine() -> None:
    """It cannot be bound here, and that is told (192.0.2.0/24 is nobody's, RFC 5737)."""
    with pytest.raises(DemoError, match=r"192\.0\.2\.1:80"):
        check_listen("--listen", "192.0.2.1:80")


def test_where_the_report_goes(tmp_path: Path) -> None:
    """A file that can be written is fine and keeps its content; a folder or a missing one is told with the flag."""
    (tmp_path / "old.json").write_text("{}")
    check_writable(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "{}"
    for path in (tmp_path, tmp_path / "missing" / "report.json"):
        with pytest.raises(DemoError, match="--json"):
            check_writable(path)


async def test_a_bad_option_starts_nothing(tmp_path: Path) -> None:
    """All that can be said beforehand is said before a pod is started."""

    async def never() -> None:
        raise AssertionError("it played")

    options = DemoOptions(
        listen="127.0.0.1:0",
        admin="127.0.0.1:0",
        pods=2,
        once=True,
        json=tmp_path / "missing" / "report.json",
        template=bootstrap_template(),
    )
    out = io.StringIO()
    with pytest.raises(DemoError):
        await play(options, Console(file=out), never)
    assert out.getvalue() == ""


async def test_a_stop_before_the_report_is_obeyed(tmp_path: Path) -> None:
    """A user who stops the demo while it starts is told so, everything is ended, and the status is not good."""

    async def at_once() -> None:
        return

    options = DemoOptions(
        listen="127.0.0.1:0",
        admin="127.0.0.1:0",
        pods=2,
        once=False,
        json=None,
        template=bootstrap_template(),
    )
    out = io.StringIO()
    assert await play(options, Console(file=out), at_once) is False
    assert "stopped before the report" in out.getvalue()


@pytest.mark.parametrize("steps", range(6))
async def test_pods_that_are_stopped_while_they_start(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever step: every process that had been made has ended, and somebody has waited for it."""
    processes = []
    create = asyncio.create_subprocess_exec

    async def create_and_tell(*command: str, **options: int) -> asyncio.subprocess.Process:
        processes.append(await create(*command, **options))  # type: ignore[arg-type]
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create_and_tell)
    starting = [PodProcess(models=(MODEL,)) for _ in range(3)]
    start = asyncio.ensure_future(run._start(starting))
    for _ in range(steps):
        await asyncio.sleep(0)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    assert start.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for pod in starting:
        await pod.kill()
    assert all(process.returncode is not None for process in processes)


async def test_a_pod_that_does_not_start_stops_the_others() -> None:
    """The reason is told as it is, and the others are not on their way any more."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        starting = pods(f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:0")
        try:
            with pytest.raises(PodNotStartedError):
                await run._start(starting)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        finally:
            for pod in starting:
                await pod.kill()


def test_what_a_user_can_mend() -> None:
    """The command line shows these as one line, not as a traceback."""
    assert {DemoError, PodNotStartedError, PolicyInvalidError} <= set(start_errors())
