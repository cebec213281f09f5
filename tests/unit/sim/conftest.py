"""Live pods for the tests: fast engines behind real HTTP."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from sim.pod import Pod, PodSpec
from tests.unit.sim.live import FAST


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    """One running pod that serves two names."""
    async with Pod(PodSpec(name="pod-a", models=("m", "m-alias"), profile=FAST)) as running:
        yield running


@pytest.fixture
async def client(pod: Pod) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of that pod."""
    async with aiohttp.ClientSession(f"http://{pod.address}", timeout=aiohttp.ClientTimeout(10)) as session:
        yield session
