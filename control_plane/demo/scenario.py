"""The three acts of the demonstration, as functions of a running fleet: they send requests and give rows back."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp

from control_plane.demo.conversations import Conversation, text
from control_plane.openai_client import Answer, chat

TURNS = 4
DOCUMENT_TOKENS = 1200
LOAD_IN_FLIGHT = 12
LOAD_REQUESTS = 60
KILL_AFTER = 12
"""Answers after which the pod is killed: early enough that most of the load runs without it."""
LONG_STREAM_TOKENS = 2000
"""Over ten seconds of a simulated pod's time: the stream is still running when its pod is killed."""
COMPARED_CONVERSATIONS = 8
OUTCOME_TIMEOUT_S = 2.0
"""An access log record comes within 50 ms of the end; a slow machine gets longer, a lost one must not hang the demo."""

Explain = Callable[[str], Mapping[str, Any] | None]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and where decisions are looked up."""

    session: aiohttp.ClientSession
    url: str
    explain: Explain
    """Decision id → decision as `/decisions/{id}` gives it, or None."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the first table."""

    request: str
    model: str
    picked: str
    served: str
    reason: str
    cached_tokens: int
    prompt_tokens: int
    ttft_ms: float | None
    ok: bool


@dataclass(frozen=True, slots=True)
class KillReport:
    """What became of the requests while a pod died."""

    killed: str
    sent: int
    ok: int
    cut_streams: int
    """Streams that had begun on the killed pod: their first part was with the client, so nobody may repeat them."""
    failed: int
    """Everything else that did not come to a good end."""
    retried: int
    """Requests that another pod served after the first attempt failed."""


@dataclass(frozen=True, slots=True)
class StrategyReport:
    """One line of the comparison."""

    strategy: str
    requests: int
    failed: int
    mean_ttft_ms: float
    p90_ttft_ms: float
    cached_share: float


async def outcome(target: Target, decision_id: str) -> Mapping[str, Any] | None:
    """The decision with its outcome, which the access log brings shortly after the answer's end."""
    found = target.explain(decision_id)
    try:
        async with asyncio.timeout(OUTCOME_TIMEOUT_S):
            while found is not None and not (found.get("outcome") or {}).get("status"):
                await asyncio.sleep(0.02)
                found = target.explain(decision_id)
    except TimeoutError:
        pass
    return found


async def _row(target: Target, request: str, model: str, answer: Answer) -> Row:
    decision = await outcome(target, answer.decision) if answer.decision else None
    told = (decision or {}).get("outcome") or {}
    return Row(
        request=request,
        model=model,
        picked=decision["endpoints"][0] if decision and decision["endpoints"] else "-",
        served=told.get("served") or "-",
        reason=_short(decision["reason"]) if decision else answer.error or "the picker was not asked",
        cached_tokens=answer.cached_tokens,
        prompt_tokens=answer.prompt_tokens,
        ttft_ms=answer.ttft_ms,
        ok=answer.ok,
    )


def _short(reason: str) -> str:
    """The reason without the address, which has a column of its own."""
    return re.sub(r" on [0-9.:\[\]a-f]+", "", reason)


async def converse(target: Target, models: tuple[str, ...], seed: int, progress: Progress) -> list[Row]:
    """Act one: conversations that grow turn by turn, side by side, and prompts that share nothing."""
    conversations = [Conversation(seed + number, DOCUMENT_TOKENS) for number in range(3)]
    rows: list[Row] = []
    for turn in range(TURNS):
        progress(f"turn {turn + 1} of {TURNS}")
        for number, conversation in enumerate(conversations):
            model = models[number % len(models)]
            answer = await chat(target.session, target.url, model, conversation.ask())
            conversation.answered(answer.text)
            rows.append(await _row(target, f"chat {number + 1} turn {turn + 1}", model, answer))
    progress("unrelated prompts")
    for number in range(4):
        prompt = [{"role": "user", "content": text(seed + 1000 + number, 300)}]
        answer = await chat(target.session, target.url, models[0], prompt)
        rows.append(await _row(target, f"unrelated {number + 1}", models[0], answer))
    return rows


async def kill_under_load(
    target: Target, model: str, seed: int, kill: Callable[[str], Awaitable[None]], progress: Progress
) -> KillReport:
    """Act two: a long stream has begun on some pod and a steady load runs, then `kill` ends the pod of that address."""
    numbers = iter(range(LOAD_REQUESTS))
    stream = Answer()
    answers = [stream]
    question = [{"role": "user", "content": text(seed - 1, 200)}]
    streaming = asyncio.create_task(
        chat(target.session, target.url, model, question, max_tokens=LONG_STREAM_TOKENS, into=stream), name="stream"
    )
    while stream.ttft_ms is None and not streaming.done():
        await asyncio.sleep(0.02)
    decision = target.explain(stream.decision)
    victim = decision["endpoints"][0] if decision else ""
    enough = asyncio.Event()

    async def worker() -> None:
        for number in numbers:
            prompt = [{"role": "user", "content": text(seed + number, 200)}]
            answers.append(await chat(target.session, target.url, model, prompt, max_tokens=40, stream=number % 3 != 0))
            progress(f"{len(answers) - 1} of {LOAD_REQUESTS} answered")
            if len(answers) > KILL_AFTER:
                enough.set()

    workers = [asyncio.create_task(worker(), name=f"load {number}") for number in range(LOAD_IN_FLIGHT)]
    await enough.wait()
    await kill(victim)
    await asyncio.gather(streaming, *workers)
    return await _kill_report(target, victim, answers)


async def _kill_report(target: Target, victim: str, answers: Iterable[Answer]) -> KillReport:
    sent = ok = cut = retried = 0
    for answer in answers:
        sent += 1
        decision = await outcome(target, answer.decision) if answer.decision else None
        told = (decision or {}).get("outcome") or {}
        retried += (told.get("attempts") or 1) > 1
        ok += answer.ok
        cut += not answer.ok and answer.status == 200 and told.get("served") == victim
    return KillReport(victim, sent, ok, cut, sent - ok - cut, retried)


async def measure(target: Target, strategy: str, model: str, seed: int, progress: Progress) -> StrategyReport:
    """Act three: the same conversations (fresh ones: nothing is cached yet) under the strategy that is in force."""
    done = count(1)
    total = COMPARED_CONVERSATIONS * TURNS

    async def talk(number: int) -> list[Answer]:
        conversation = Conversation(seed + number, DOCUMENT_TOKENS)
        answers = []
        for _ in range(TURNS):
            answer = await chat(target.session, target.url, model, conversation.ask())
            conversation.answered(answer.text)
            answers.append(answer)
            progress(f"{strategy}: {next(done)} of {total}")
        return answers

    answers = [answer for part in await asyncio.gather(*map(talk, range(COMPARED_CONVERSATIONS))) for answer in part]
    times = sorted(answer.ttft_ms for answer in answers if answer.ttft_ms is not None)
    prompt = sum(answer.prompt_tokens for answer in answers)
    return StrategyReport(
        strategy=strategy,
        requests=len(answers),
        failed=sum(not answer.ok for answer in answers),
        mean_ttft_ms=sum(times) / len(times) if times else 0.0,
        p90_ttft_ms=times[min(len(times) - 1, int(len(times) * 0.9))] if times else 0.0,
        cached_share=sum(answer.cached_tokens for answer in answers) / prompt if prompt else 0.0,
    )
