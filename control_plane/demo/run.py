"""Sets the stage of `kvpilot demo` (pods, policy, sidecar, Envoy), plays the acts and tells what was seen."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console

from control_plane.demo.pod_process import PodNotStartedError, PodProcess
from control_plane.demo.report import Report, show
from control_plane.demo.scenario import Target, converse, kill_under_load, measure
from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
from control_plane.sidecar.sidecar import Sidecar
from control_plane.sidecar.sidecar import start_errors as sidecar_start_errors
from ext_proc.core.address import parse_address
from ext_proc.transport.binding import check_free
from ext_proc.transport.interface import BindError

MODEL = "llama-3-8b"
ALIAS = "gpt-4o-mini"
ZONES = ("zone-a", "zone-b")
EDIT_TIMEOUT_S = 5.0
"""An edit of the policy takes effect in well under a second; see docs/benchmarks.md."""

Until = Callable[[], Awaitable[object]]


class DemoError(RuntimeError):
    """The stage cannot be set; the text tells the user what to do."""


def start_errors() -> tuple[type[Exception], ...]:
    """What `play` raises for reasons that a user can mend: their text is the whole message."""
    return DemoError, PodNotStartedError, *sidecar_start_errors()


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `kvpilot demo` takes from its command line."""

    listen: str
    admin: str
    pods: int
    once: bool
    json: Path | None
    template: str
    """The text of `envoy/bootstrap.yaml`."""


@dataclass(slots=True)
class Stage:
    """Everything that runs. Mutable: the sidecar and the pods change state, the references do not."""

    pods: Sequence[PodProcess]
    sidecar: Sidecar
    policy: Path
    listen: str

    def write_policy(self, strategy: str) -> None:
        """Edits the policy file as an operator would; the running sidecar picks it up."""
        self.policy.write_text(policy_text(self.listen, self.pods, strategy))


def policy_text(listen: str, pods: Sequence[PodProcess], strategy: str) -> str:
    """The demo's policy: one model with an alias, one pool over two zones."""
    endpoints = "\n".join(f"      - {{address: {pod.address}, zone: {pod.zone}}}" for pod in pods)
    # The brackets of an IPv6 address would begin a list here.
    return f"""\
# The policy of the running demo. Edit it and save: kvpilot applies it without a restart, or tells you what is wrong.
kvpilot: v1
listeners:
  - {{name: openai, address: "{listen}", picker: {{explain: always}}}}
models:
  - {{name: {MODEL}, aliases: [{ALIAS}], pool: chat}}
pools:
  chat:
    engine: vllm
    endpoints:
{endpoints}
    picker: {{strategy: {strategy}}}
    trafficPolicy:
      outlierDetection: {{consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 5s, maxEjectionPercent: 50}}
"""


def check_listen(flag: str, address: str) -> None:
    """Raises `DemoError` when `address` cannot be listened on, before anything has been started."""
    try:
        check_free(parse_address(address))
    except BindError as error:
        raise DemoError(f"{error}; choose another: {flag} HOST:PORT") from error


def check_writable(path: Path) -> None:
    """Raises `DemoError` when the report cannot be written there, before a minute has gone into it."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise DemoError(f"--json {path}: {error.strerror}") from error


@asynccontextmanager
async def stage(options: DemoOptions, directory: Path, say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Pods, sidecar and Envoy up and connected; all ended at the exit, whatever happened."""
    pods = [PodProcess(models=(MODEL,), zone=ZONES[number % len(ZONES)]) for number in range(options.pods)]
    policy = directory / "policy.yaml"
    envoy = EnvoyOptions(directory=directory, template=options.template, disposable=True)
    sidecar = Sidecar(
        SidecarOptions(policy=policy, xds="127.0.0.1:0", ext_proc="127.0.0.1:0", admin=options.admin, envoy=envoy)
    )
    try:
        say(f"starting {options.pods} simulated pods")
        await _start(pods)
        policy.write_text(policy_text(options.listen, pods, "kv-aware"))
        say("starting kvpilot and Envoy")
        await sidecar.start()
        assert sidecar.envoy is not None
        await sidecar.envoy.wait_ready()
        yield Stage(pods, sidecar, policy, options.listen)
    finally:
        await sidecar.stop()
        await asyncio.gather(*(pod.kill() for pod in pods))


async def _start(pods: Sequence[PodProcess]) -> None:
    """Starts them side by side; however that ends, none is still on its way afterwards (`gather` would not wait)."""
    try:
        async with asyncio.TaskGroup() as group:
            for pod in pods:
                group.create_task(pod.start())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def play(options: DemoOptions, console: Console, until_stopped: Until) -> bool:
    """The whole demonstration; whether all went well. `until_stopped` waits for the user to have seen enough.

    A user who stops it before the report is obeyed at once; that counts as not well.
    """
    check_listen("--listen", options.listen)
    check_listen("--admin", options.admin)
    if options.json is not None:
        check_writable(options.json)
    reported = asyncio.Event()
    stopped = asyncio.create_task(_ended(until_stopped), name="signals")
    playing = asyncio.create_task(_play(options, console, reported, stopped), name="demo")
    try:
        await asyncio.wait((playing, stopped), return_when=asyncio.FIRST_COMPLETED)
        if playing.done() or reported.is_set():
            return await playing
        console.print("stopped before the report")
        return False
    finally:
        for task in (playing, stopped):
            task.cancel()
        await asyncio.gather(playing, stopped, return_exceptions=True)


async def _ended(until_stopped: Until) -> None:
    await until_stopped()


async def _play(options: DemoOptions, console: Console, reported: asyncio.Event, stopped: asyncio.Task[None]) -> bool:
    with tempfile.TemporaryDirectory(prefix="kvpilot-demo-") as name, console.status("starting") as status:

        def say(what: str) -> None:
            status.update(what)
            if not console.is_terminal and not what[:1].isdigit() and " of " not in what:
                console.print(what, style="dim", highlight=False)

        async with stage(options, Path(name), say) as running:
            report = await _acts(running, say)
            status.stop()
            show(console, report, {pod.address: pod.zone for pod in running.pods})
            if options.json is not None:
                options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report.as_json())) + b"\n")
            reported.set()
            if not options.once:
                _invite(console, running)
                await asyncio.wait((stopped,))
    return report.ok


async def _acts(running: Stage, say: Callable[[str], None]) -> Report:
    picker = running.sidecar.picker
    assert picker is not None
    async with aiohttp.ClientSession() as session:
        target = Target(session, f"http://{running.listen}", picker.decision)
        say("act 1: conversations")
        rows = await converse(target, (MODEL, ALIAS), 1, say)
        say("act 2: a pod is killed under load")
        by_address = {pod.address: pod for pod in running.pods}

        async def kill_pod(address: str) -> None:
            if address in by_address:
                await by_address[address].kill()

        kill = await kill_under_load(target, MODEL, 5000, kill_pod, say)
        if kill.killed in by_address:
            await by_address[kill.killed].start()
        say("act 3: kv-aware and round-robin on the same conversations")
        strategies = []
        for number, strategy in enumerate(("round-robin", "kv-aware")):
            await _use(running, strategy)
            strategies.append(await measure(target, strategy, MODEL, 10_000 + 1000 * number, say))
    assert running.sidecar.xds is not None
    rejected = [
        f"{kind}: {state['error']}"
        for envoy in running.sidecar.xds.status()
        for kind, state in envoy["types"].items()
        if state["state"] == "ERROR"
    ]
    return Report(rows, kill, strategies, rejected)


async def _use(running: Stage, strategy: str) -> None:
    """Edits the policy and waits until the sidecar has applied it."""
    before = running.sidecar.state.reloads_applied
    if f"strategy: {strategy}}}" in running.policy.read_text():
        return
    running.write_policy(strategy)
    async with asyncio.timeout(EDIT_TIMEOUT_S):
        while running.sidecar.state.reloads_applied == before:
            await asyncio.sleep(0.02)


def _invite(console: Console, running: Stage) -> None:
    body = f'{{"model": "{ALIAS}", "messages": [{{"role": "user", "content": "Hello"}}], "stream": true}}'
    console.print("It keeps running until Ctrl-C. Try:", style="bold")
    console.print(
        f"  curl -i http://{running.listen}/v1/chat/completions -H 'content-type: application/json' -d '{body}'\n"
        f"  curl 'http://{running.sidecar.admin_address}/decisions?limit=1'\n"
        f"  edit {running.policy}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"admin: http://{running.sidecar.admin_address}/", highlight=False)
