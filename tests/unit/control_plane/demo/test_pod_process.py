"""A pod in a process of its own: it dies as real ones do, and comes back where it was."""

import socket

import aiohttp
import pytest

from control_plane.demo.pod_process import PodNotStartedError, PodProcess
from control_plane.openai_client import chat

HELLO = [{"role": "user", "content": "Hello"}]


async def test_start_kill_and_start_again() -> None:
    """It serves its model, refuses when it was killed, and serves again at the same address."""
    pod = PodProcess(models=("m",), zone="a")
    async with aiohttp.ClientSession() as session:
        try:
            await pod.start()
            address = pod.address
            assert (await chat(session, f"http://{address}", "m", HELLO)).ok
            await pod.kill()
            assert (await chat(session, f"http://{address}", "m", HELLO)).status == 0
            await pod.start()
            assert pod.address == address
            assert (await chat(session, f"http://{address}", "m", HELLO)).ok
        finally:
            await pod.kill()
            await pod.kill()


async def test_a_pod_that_does_not_come_up() -> None:
    """Its port is taken: told as such, without waiting for the time limit, and no process is left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        pod = PodProcess(models=("m",))
        pod.address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PodNotStartedError):
            await pod.start()
    assert pod._process is None
