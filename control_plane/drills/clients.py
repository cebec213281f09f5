"""The load of a drill: requests that come evenly, whatever becomes of the earlier ones."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgspec

from control_plane.demo.conversations import text
from control_plane.drills.facts import Sent
from control_plane.drills.ground import Ground
from control_plane.drills.model import Load
from control_plane.openai_client import Answer, ask

DECISION_HEADER = {"x-kvpilot-explain": "1"}
"""Asks which decision led to an answer (`listeners[].picker.explain`)."""

DEGRADED = "x-kvpilot-degraded"
POD = "x-kvpilot-pod"


LEAVES_S = 0.2
"""When those leave who do: in the midst of most answers, and while a pod that hangs is waited for."""


class Clients:
    """Mutable: what was sent so far; the loop is the only writer."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        ground: Ground,
        load: Load,
        models: tuple[str, ...],
        heard: Callable[[Sent], None] | None = None,
    ) -> None:
        """`models` are those that are asked for, in turn; `heard` is told of each request at its end."""
        self._session, self._ground, self._load = session, ground, load
        self._models = models
        self._heard = heard
        self.sent: list[Sent] = []
        self.late_s = 0.0
        self.by_decision: dict[str, Sent] = {}

    async def send(self, begin: float, duration_s: float) -> None:
        """Sends from `begin` on (monotonic), and waits for the last end."""
        async with asyncio.TaskGroup() as group:
            for number in range(round(self._load.rate * duration_s)):
                due = begin + number / self._load.rate
                await asyncio.sleep(due - time.monotonic())
                self.late_s = max(self.late_s, time.monotonic() - due)
                group.create_task(self._one(number, begin))

    async def warm_up(self) -> bool:
        """One request that does not count; whether it was answered and a decision led to it."""
        found = await self._ask(0, stream=True)
        return found.ok and bool(found.decision)

    async def _ask(self, number: int, *, stream: bool, into: Answer | None = None) -> Answer:
        load = self._load
        body: dict[str, object] = {
            "model": self._models[number % len(self._models)],
            "messages": [{"role": "user", "content": text(number % load.prompts, load.prompt_tokens)}],
            "max_tokens": load.output_tokens,
            "stream": stream,
        }
        url = f"{self._ground.url}/v1/chat/completions"
        return await ask(
            self._session,
            url,
            msgspec.json.encode(body),
            stream=stream,
            headers=DECISION_HEADER,
            timeout_s=load.timeout_s,
            into=into,
        )

    async def _leave(self, number: int, *, stream: bool) -> tuple[Answer, bool]:
        """What was heard until the client went away, and whether that was before the end."""
        answer = Answer()
        try:
            async with asyncio.timeout(LEAVES_S):
                await self._ask(number, stream=stream, into=answer)
        except TimeoutError:
            return answer, True
        return answer, False

    async def _one(self, number: int, begin: float) -> None:
        sent_s = time.monotonic() - begin
        stream = _is_one_of(number, self._load.streamed)
        # Counted apart from streams, so that both kinds are among those who leave.
        if _is_one_of(number // 2, self._load.leaving):
            answer, is_left = await self._leave(number, stream=stream)
        else:
            answer, is_left = await self._ask(number, stream=stream), False
        headers = {name.lower(): value for name, value in answer.headers.items()}
        end_s = time.monotonic() - begin
        told = Sent(
            sent_s=sent_s,
            end_s=end_s,
            first_token_s=answer.ttft_ms / 1e3 if stream and answer.ttft_ms is not None and answer.ok else None,
            status=answer.status,
            is_ok=answer.ok,
            is_left=is_left,
            is_timed_out=not answer.ok and answer.error.startswith("TimeoutError"),
            pod=self._ground.declared(headers.get(POD, "")),
            decision=answer.decision,
            degraded=headers.get(DEGRADED, ""),
            error=answer.error,
        )
        self.sent.append(told)
        if told.decision:
            self.by_decision[told.decision] = told
        if self._heard is not None:
            self._heard(told)


def _is_one_of(number: int, percent: int) -> bool:
    """Spread evenly over all: 50 % is every other one."""
    return (number + 1) * percent // 100 > number * percent // 100
