"""`kvpilot run`: with an Envoy of ours, its end, its return, and what an operator's own Envoy needs."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from control_plane.openai_client import chat
from control_plane.sidecar.envoy_process import find_envoy
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.processes import children_of, is_alive
from tests.kit.waiting import eventually

HELLO = [{"role": "user", "content": "hello"}]


class Run:
    """A `kvpilot run` with an Envoy of its own."""

    def __init__(self, directory: Path, addresses: list[str]) -> None:
        listen, xds, ext_proc, admin = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.policy = directory / "policy.yaml"
        self.policy.write_text(PolicyText({"chat": addresses}, {"llama": "chat"}, listen=listen).render())
        self.listen, self.admin, self.log = listen, admin, directory / "run.log"
        state = str(directory / "state")
        self.words: tuple[str, ...] = ("--xds", xds, "--ext-proc", ext_proc, "--admin", admin, "--state-dir", state)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Starts it and waits until it is ready, its Envoy included."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "control_plane.cli", "run", str(self.policy), *self.words),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
            )
        await eventually(self.is_ready, f"kvpilot run: {self.log.read_text()}", timeout_s=20)
        return self.process

    async def is_ready(self) -> bool:
        """Whether it says so, and requests get through."""
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{self.admin}/readyz") as response:
                    if response.status != 200:
                        return False
                return (await chat(session, f"http://{self.listen}", "llama", HELLO)).decision != ""
        except aiohttp.ClientError:
            return False

    async def end(self, number: signal.Signals) -> tuple[int, float]:
        """(exit status, seconds) of the end by a signal."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        return await self.process.wait(), time.monotonic() - started


async def test_sigterm_ends_everything(tmp_path: Path) -> None:
    """Status 0 and no process left, also while a generation runs and an ext_proc stream is open."""
    async with quick_fleet(2) as fleet, aiohttp.ClientSession() as session:
        run = Run(tmp_path, fleet.addresses)
        process = await run.start()
        children = children_of(process.pid)
        assert len(children) == 1, "one Envoy"
        await fleet["pod-0"].set_fault({"kind": "hang"})
        await fleet["pod-1"].set_fault({"kind": "hang"})
        hanging = asyncio.create_task(chat(session, f"http://{run.listen}", "llama", HELLO))

        async def is_open() -> bool:
            async with session.get(f"http://{run.admin}/metrics") as response:
                return "kvpilot_ext_proc_open_streams 1.0" in await response.text()

        await eventually(is_open, "an open ext_proc stream")
        status, _ = await run.end(signal.SIGTERM)
        assert status == 0, run.log.read_text()
        assert not is_alive(children[0])
        assert not (await hanging).ok
        assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_impatient_second_signal_leaves_no_orphan(tmp_path: Path, number: signal.Signals) -> None:
    """A signal during the stop changes nothing: status 0, Envoy ended, no traceback."""
    async with quick_fleet(1) as fleet:
        run = Run(tmp_path, fleet.addresses)
        process = await run.start()
        (envoy,) = children_of(process.pid)
        process.send_signal(number)
        await asyncio.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):  # where the machine is so busy that it has ended meanwhile
            process.send_signal(number)
        assert await process.wait() == 0, run.log.read_text()
        assert not is_alive(envoy)
        assert "Traceback" not in run.log.read_text()


async def test_drain_time_lets_streams_end(tmp_path: Path) -> None:
    """Not ready any more at once; a stream goes on, who comes all the same is served and told to go elsewhere."""
    async with quick_fleet(1) as fleet, aiohttp.ClientSession() as session:
        run = Run(tmp_path, fleet.addresses)
        run.words += ("--drain-time", "30s")
        process = await run.start()
        pod = fleet["pod-0"]
        stream = asyncio.create_task(chat(session, f"http://{run.listen}", "llama", HELLO, max_tokens=200))
        await eventually(lambda: pod.engine.unfinished, "the stream to run")
        await pod.set_fault({"kind": "slow", "factor": 200})
        process.send_signal(signal.SIGTERM)

        async def is_unready() -> bool:
            async with session.get(f"http://{run.admin}/readyz") as response:
                return response.status == 503

        await eventually(is_unready, "/readyz to say so")
        late = chat(session, f"http://{run.listen}", "llama", HELLO, max_tokens=1, stream=False)
        late_answer = asyncio.create_task(late)
        await eventually(lambda: pod.engine.unfinished == 2, "a late request to be served")
        assert not stream.done()
        await pod.set_fault(None)
        assert (await stream).ok
        assert (await late_answer).ok
        assert late_answer.result().headers.get("Connection") == "close"
        assert await process.wait() == 0, run.log.read_text()


async def test_a_killed_kvpilot_leaves_envoy_serving_and_finds_it_again(tmp_path: Path) -> None:
    """After SIGKILL the Envoy serves on alone; the next run adopts it instead of starting a second one, and ends it."""
    async with quick_fleet(2) as fleet, aiohttp.ClientSession() as session:
        run = Run(tmp_path, fleet.addresses)
        process = await run.start()
        (envoy,) = children_of(process.pid)
        try:
            await run.end(signal.SIGKILL)
            alone = await chat(session, f"http://{run.listen}", "llama", HELLO)
            assert alone.ok, alone.error
            assert not alone.decision
            again = await run.start()
            assert children_of(again.pid) == []
            status, _ = await run.end(signal.SIGTERM)
            assert status == 0

            async def is_gone() -> bool:
                return not is_alive(envoy)

            await eventually(is_gone, "the adopted Envoy to end")
        finally:
            if is_alive(envoy):
                os.kill(envoy, signal.SIGKILL)


async def test_an_envoy_that_ends_by_itself_ends_the_run(tmp_path: Path) -> None:
    """Without its Envoy the process is of no use: it says so and exits 1, for a supervisor to start it again."""
    async with quick_fleet(1) as fleet:
        run = Run(tmp_path, fleet.addresses)
        process = await run.start()
        (envoy,) = children_of(process.pid)
        os.kill(envoy, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await process.wait() == 1
        assert "envoy ended by itself" in run.log.read_text()


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_an_operators_own_envoy_needs_only_the_bootstrap(tmp_path: Path, ads: str) -> None:
    """`kvpilot bootstrap` prints YAML with nothing but the control plane in it, and a plain Envoy works with it."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"})
        async with mesh(tmp_path, policy) as running, aiohttp.ClientSession() as session:
            await running.envoy.stop()
            printed = subprocess.run(
                [
                    *(sys.executable, "-m", "control_plane.cli", "bootstrap", str(running.kvpilot.policy)),
                    *("--xds", running.kvpilot.xds, "--node-id", "n", "--ads", ads, "--admin-port", "0"),
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            value: Any = yaml.safe_load(printed)
            assert len(value["static_resources"]["clusters"]) == 1
            assert "listeners" not in value["static_resources"]
            config = tmp_path / "own.yaml"
            config.write_text(printed)
            with (tmp_path / "own.log").open("wb") as log:
                own = subprocess.Popen(
                    [find_envoy(), "-c", str(config), "--use-dynamic-base-id", "--log-level", "warning"],
                    stdout=log,
                    stderr=log,
                )
            try:

                async def is_picked() -> bool:
                    return bool((await chat(session, running.url, "llama", HELLO)).decision)

                await eventually(is_picked, "a pick through the operator's Envoy")
                (envoy,) = [
                    one for one in (await running.kvpilot.get("/status"))["envoys"] if one.get("connected", True)
                ]
                assert envoy["node"] == "n"
            finally:
                own.terminate()
                own.wait()
