"""Pods that refuse, die or answer late: what a client sees of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control_plane.demo.conversations import text
from sim.engine import Profile
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh
from tests.kit.waiting import eventually


async def tries_of(running: Mesh, decision: str, least: int) -> list[Any]:
    """Single tries of a request, once so many are told: their records may come after the one of the request."""

    async def told() -> list[Any]:
        found: list[Any] = (await running.decision(decision))["outcome"]["tries"]
        return found if len(found) >= least else []

    found: list[Any] = await eventually(told, f"records of {least} tries")
    return found


@pytest.mark.parametrize("mode", MODES)
async def test_a_pod_that_refuses_costs_no_request(tmp_path: Path, mode: str) -> None:
    """Requests that name the pod that refuses connections are served by the next named one."""
    async with quick_fleet(3) as fleet:
        policy = PolicyText(
            pools={"chat": fleet.addresses}, models={"llama": "chat"}, strategy="round-robin", mode=mode
        )
        async with mesh(tmp_path, policy) as running:
            broken = fleet["pod-0"]
            await broken.set_fault({"kind": "refuse"})
            answers = [await running.chat("llama", text(number, 50), stream=number % 2 == 0) for number in range(12)]
            assert [answer.error for answer in answers if not answer.ok] == []
            decisions = [await running.decision(answer.decision) for answer in answers]
            named_broken = [one for one in decisions if one["endpoints"][0] == broken.address]
            assert named_broken, "round robin named the broken pod at least once"
            for one in named_broken:
                assert one["outcome"]["served"] == one["endpoints"][1]
                assert one["outcome"]["attempts"] == 2
            assert all(one["outcome"]["served"] != broken.address for one in decisions)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_pod_that_dies_before_answering_costs_nothing(tmp_path: Path, stream: bool) -> None:
    """A pod takes the request and closes the connection: another one answers, the client notices nothing."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"}, strategy="round-robin")
        async with mesh(tmp_path, policy) as running:
            await fleet["pod-0"].set_fault({"kind": "die"})
            answers = [await running.chat("llama", text(number, 50), stream=stream) for number in range(6)]
            assert [answer.error for answer in answers if not answer.ok] == []
            outcomes = [(await running.decision(answer.decision))["outcome"] for answer in answers]
            assert {outcome["served"] for outcome in outcomes} == {fleet["pod-1"].address}


async def test_a_long_plain_answer_is_generated_once(tmp_path: Path) -> None:
    """A plain answer that takes longer than a stream may wait for its first byte arrives, after one generation."""
    slow = Profile(step_base_ms=40.0)
    async with quick_fleet(2, profile=slow) as fleet:
        policy = PolicyText(
            pools={"chat": fleet.addresses}, models={"llama": "chat"}, pool="timeouts: {firstByte: 300ms}"
        )
        async with mesh(tmp_path, policy) as running:
            answer = await running.chat("llama", "hello", stream=False, max_tokens=30)
            assert answer.ok, answer.error
            assert answer.total_ms > 1000, "it took longer than the limit of a stream"
            outcome = (await running.decision(answer.decision))["outcome"]
            assert outcome["attempts"] == 1
            assert (await running.stats(r"cluster\.pool/chat\.upstream_rq_retry$")).get(
                "cluster.pool/chat.upstream_rq_retry", 0
            ) == 0


async def test_a_hung_pod_is_left_at_the_first_byte_limit(tmp_path: Path) -> None:
    """A stream whose pod never answers is given to the next named pod when its first-byte limit is over."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(
            pools={"chat": fleet.addresses},
            models={"llama": "chat"},
            strategy="round-robin",
            pool="timeouts: {firstByte: 1s}",  # the other one has to answer within it, however busy the machine is
        )
        async with mesh(tmp_path, policy) as running:
            await fleet["pod-0"].set_fault({"kind": "hang"})
            answers = [await running.chat("llama", text(number, 50)) for number in range(4)]
            assert [answer.error for answer in answers if not answer.ok] == []
            served = {(await running.decision(answer.decision))["outcome"]["served"] for answer in answers}
            assert served == {fleet["pod-1"].address}


async def test_no_pod_left_is_told_as_openai_would(tmp_path: Path) -> None:
    """With every pod gone the client gets a 503 in OpenAI's shape that says when to come back."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"})
        async with mesh(tmp_path, policy) as running:
            for pod in fleet:
                await pod.stop()
            body = {"model": "llama", "messages": [{"role": "user", "content": "hello"}]}
            async with running.session.post(f"{running.url}/v1/chat/completions", json=body) as response:
                assert response.status == 503
                assert response.headers["content-type"].startswith("application/json")
                assert int(response.headers["retry-after"]) >= 1
                error = (await response.json())["error"]
                assert set(error) >= {"message", "type", "code", "param"}


async def test_a_pod_that_dies_in_the_midst_of_load(tmp_path: Path) -> None:
    """When a pod dies under load only streams that had begun on it end early; nothing else fails."""
    async with quick_fleet(3, profile=Profile(step_base_ms=5.0)) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"})
        async with mesh(tmp_path, policy) as running:
            requests = [
                asyncio.create_task(running.chat("llama", text(number, 100), stream=number % 2 == 0, max_tokens=100))
                for number in range(24)
            ]

            async def some_run() -> bool:
                return any((await running.in_flight()).values())

            await eventually(some_run, "requests to run")
            victim = fleet["pod-1"]
            await victim.stop()
            for answer in await asyncio.gather(*requests):
                if not answer.ok:
                    outcome = (await running.decision(answer.decision))["outcome"]
                    assert answer.status == 200
                    assert outcome["served"] == victim.address


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_began_is_never_generated_twice(tmp_path: Path, stream: bool) -> None:
    """It breaks off midway: the client sees that, and nobody else is asked, whatever is tried again before."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"}, strategy="round-robin")
        async with mesh(tmp_path, policy) as running:
            for pod in fleet:
                await pod.set_fault({"kind": "cut", "after_chunks": 2})
            answer = await running.chat("llama", "hello", stream=stream, max_tokens=20)
            assert not answer.ok
            (latest,) = (await running.kvpilot.get("/decisions?limit=1"))["decisions"]
            outcome = (await running.decision(latest["id"]))["outcome"]
            assert outcome["attempts"] == 1
            assert len(await tries_of(running, latest["id"], 1)) == 1
            retries = await running.stats(r"cluster\.pool/chat\.upstream_rq_retry$")
            assert retries.get("cluster.pool/chat.upstream_rq_retry", 0) == 0


async def test_the_only_pod_does_not_fail_at_the_same_thing_over_and_over(tmp_path: Path) -> None:
    """With nobody else to ask it is asked twice, however many tries the policy has."""
    async with quick_fleet(1) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"}, pool="retries: {attempts: 5}")
        async with mesh(tmp_path, policy) as running:
            await fleet["pod-0"].set_fault({"kind": "status", "code": 500})
            answer = await running.chat("llama", "hello")
            assert answer.status == 500
            tries = await tries_of(running, answer.decision, 2)
            assert [each["why"] for each in tries] == ["HTTP 500", "HTTP 500"]


async def test_who_answers_500_is_found_out_by_kvpilot(tmp_path: Path) -> None:
    """One request meets it, is answered by somebody else, and its record says why; no other one has to. When the pod
    is well again it is named without having been risked a request."""
    async with quick_fleet(3) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"}, strategy="round-robin")
        async with mesh(tmp_path, policy) as running:
            broken = fleet["pod-0"]

            async def health() -> str:
                (pool,) = (await running.kvpilot.get("/status"))["pools"].values()
                return str(next(row["health"] for row in pool["endpoints"] if row["address"] == broken.address))

            async def is_out() -> bool:
                return await health() == "ejected"

            async def is_back() -> bool:
                return await health() == "healthy"

            await broken.set_fault({"kind": "status", "code": 500})
            decisions = []
            for number in range(3):
                answer = await running.chat("llama", text(number, 50))
                assert answer.ok, answer.error
                decisions.append(await running.decision(answer.decision))
                if decisions[-1]["endpoints"][0] == broken.address:
                    break
            first, *_ = await tries_of(running, decisions[-1]["id"], 1)
            assert (first["address"], first["status"], first["why"]) == (broken.address, 500, "HTTP 500")
            await eventually(is_out, "the pod to be ejected")
            answers = [await running.chat("llama", text(number, 50)) for number in range(6)]
            assert [answer.error for answer in answers if not answer.ok] == []
            named = [(await running.decision(answer.decision))["endpoints"] for answer in answers]
            assert all(broken.address not in each for each in named)
            await broken.set_fault(None)
            await eventually(is_back, "the pod to be healthy")
