"""A pool is taken out of the policy while it serves: no request fails, and in the end Envoy has forgotten it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.compile import AdsVariant
from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from tests.conformance.raw_http import Upload
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

WORKERS = 8
ROUNDS = 4
MODEL = "qwen"


@asynccontextmanager
async def load(running: Mesh, answers: list[Answer]) -> AsyncIterator[None]:
    """Requests to the model whose pool comes and goes, `WORKERS` in flight, from the block's entry to its exit."""
    stop = asyncio.Event()

    async def work(worker: int) -> None:
        number = worker
        while not stop.is_set():
            answers.append(await running.chat(MODEL, text(number, 40), stream=number % 2 == 0, max_tokens=4))
            number += WORKERS

    workers = [asyncio.create_task(work(worker)) for worker in range(WORKERS)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*workers)


async def grown(answers: list[Answer], by: int) -> None:
    """Waits until `by` more requests have been answered."""
    goal = len(answers) + by

    async def enough() -> bool:
        return len(answers) >= goal

    await eventually(enough, f"{by} more answers")


async def pools_of(running: Mesh) -> set[str]:
    """The pools that Envoy has a cluster of."""
    lines = (await running.envoy_admin("/clusters")).splitlines()
    return {line.partition("::")[0].removeprefix("pool/") for line in lines if line.startswith("pool/")}


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_pool_in_use_is_replaced_and_put_back(tmp_path: Path, ads: AdsVariant) -> None:
    """Several times under load; requests on the old routes may still wait for the picker when the edit is applied."""
    async with quick_fleet(2) as fleet:
        one, two = fleet.addresses
        policy = PolicyText(pools={"a": [one], "b": [two]}, models={MODEL: "b"})
        async with mesh(tmp_path, policy, ads=ads) as running:
            answers: list[Answer] = []
            async with load(running, answers):
                for _ in range(ROUNDS):
                    policy.pools, policy.models = {"a": [one], "b": [two]}, {MODEL: "b"}
                    if answers:
                        await running.edit()
                    await grown(answers, 2 * WORKERS)
                    policy.pools, policy.models = {"a": [one]}, {MODEL: "a"}
                    await running.edit()
                    assert await pools_of(running) == {"a", "b"}, "kept for requests that began under the old routes"
                    await grown(answers, 2 * WORKERS)

                async def is_gone() -> bool:
                    return await pools_of(running) == {"a"}

                await eventually(is_gone, "the pool to be removed from Envoy")
                await grown(answers, 2 * WORKERS)
            assert [answer.error for answer in answers if not answer.ok] == []


async def test_a_request_whose_body_comes_during_the_removal_is_served(tmp_path: Path) -> None:
    """It began under the old routes and is routed by them when its body is complete: their pool is still there."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text(0, 40)}], "max_tokens": 2})
    async with quick_fleet(2) as fleet:
        one, two = fleet.addresses
        policy = PolicyText(pools={"a": [one], "b": [two]}, models={MODEL: "b"})
        async with mesh(tmp_path, policy) as running, Upload(policy.listen, "/v1/chat/completions") as upload:
            await upload.begin(body.encode())

            async def has_begun() -> bool:
                return list((await running.stats(r"http\.openai\.downstream_rq_active$")).values()) == [1]

            await eventually(has_begun, "Envoy to read the request's headers")
            policy.pools, policy.models = {"a": [one]}, {MODEL: "a"}
            await running.edit()
            reply = await upload.finish()
            assert (reply.status, reply.headers.get("x-kvpilot-pod")) == (200, two)
            later = await running.chat(MODEL, "hello", stream=False)
            assert (later.ok, later.headers.get("x-kvpilot-pod")) == (True, one)
