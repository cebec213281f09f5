"""Asking endpoints for one token: what is asked, of whom, and what is told of the answer."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from ext_proc.core.events import Tried
from ext_proc.core.trials import MAX_AT_ONCE
from ext_proc.signals.pod_tls import PodTls
from ext_proc.signals.trials import PROMPT, RESULTS, TrialOf, Trying

PATIENCE_S = 5.0
COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"


class Engine:
    """Answers with a status by path; 0 is no answer at all. Mutable: what it was asked."""

    def __init__(self, statuses: Mapping[str, int]) -> None:
        self.statuses = statuses
        self.address = ""
        self.asked: list[tuple[str, dict[str, object]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """One answer."""
        self.asked.append((request.path, await request.json()))
        status = self.statuses.get(request.path, 404)
        if not status:
            await asyncio.Event().wait()
        return web.json_response({"choices": []}, status=status)


@asynccontextmanager
async def serving(statuses: Mapping[str, int]) -> AsyncIterator[Engine]:
    """An engine on a port of this machine."""
    engine, app = Engine(statuses), web.Application()
    app.router.add_post("/{path:.*}", engine.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        engine.address = f"{host}:{port}"
        yield engine
    finally:
        await runner.cleanup()


async def told_of(
    address: str,
    *,
    timeout_s: float = PATIENCE_S,
    tls: PodTls | None = None,
    results: Counter[tuple[str, str]] | None = None,
) -> Tried:
    """What is told of an endpoint that is due once; `results` gets what was counted."""
    told: asyncio.Queue[Tried] = asyncio.Queue()
    due = [address]

    def once(most: int) -> list[str]:
        assert 0 < most <= MAX_AT_ONCE
        found = due[:]
        due.clear()
        return found

    trying = Trying(due=once, on_event=told.put_nowait, clock=lambda: 3.0, pod_tls=lambda pool: tls)
    trying.set_endpoints({address: TrialOf(pool="chat", model="org/llama", timeout_s=timeout_s)})
    try:
        return await asyncio.wait_for(told.get(), PATIENCE_S)
    finally:
        await trying.stop()
        if results is not None:
            results.update(trying.results)


@pytest.mark.parametrize("status", [200, 429, 500, 503])
async def test_one_token_is_asked_for(status: int) -> None:
    """Of the pool's model by the engine's name for it; whatever it answers is told."""
    async with serving({COMPLETIONS: status}) as engine:
        found = await told_of(engine.address)
    assert found == Tried(address=engine.address, at=3.0, started_at=3.0, status=status)
    assert engine.asked == [(COMPLETIONS, {"model": "org/llama", "max_tokens": 1, "stream": False, "prompt": PROMPT})]


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_chat_where_there_are_no_completions(status: int) -> None:
    """An engine, or a model, that only chats."""
    async with serving({COMPLETIONS: status, CHAT: 200}) as engine:
        found = await told_of(engine.address)
    assert found.status == 200
    assert [path for path, _ in engine.asked] == [COMPLETIONS, CHAT]


async def test_an_answer_that_does_not_come() -> None:
    """It is late, and the connection is given up."""
    async with serving({COMPLETIONS: 0}) as engine:
        found = await told_of(engine.address, timeout_s=0.05)
    assert (found.is_late, found.is_refused, found.status) == (True, False, 0)


async def test_nobody_listens() -> None:
    """That is more than no answer."""
    async with serving({}) as engine:
        address = engine.address
    found = await told_of(address)
    assert (found.is_late, found.is_refused, found.status) == (False, True, 0)


async def test_what_is_needed_to_ask_is_missing() -> None:
    """That is nobody's fault over there: it counts as one that cannot be asked."""
    found = await told_of("127.0.0.1:1", tls=PodTls(context=None))
    assert (found.is_refused, found.status) == (False, 404)


async def test_a_certificate_that_is_not_taken() -> None:
    """Envoy may well take it: that is no failure of the endpoint, which else would never come back."""
    async with serving({COMPLETIONS: 200}) as engine:
        found = await told_of(engine.address, tls=PodTls(context=ssl.create_default_context()))
    assert (found.is_refused, found.status) == (False, 404)


@pytest.mark.parametrize(
    ("status", "result"), [(200, "ok"), (429, "busy"), (503, "busy"), (500, "error"), (401, "unable"), (0, "timeout")]
)
async def test_results_are_counted(status: int, result: str, caplog: pytest.LogCaptureFixture) -> None:
    """By pool and what came of it; that an endpoint cannot be asked is said, too."""
    results: Counter[tuple[str, str]] = Counter()
    with caplog.at_level(logging.WARNING, "ext_proc.signals.trials"):
        async with serving({COMPLETIONS: status}) as engine:
            await told_of(engine.address, timeout_s=0.05 if not status else PATIENCE_S, results=results)
    assert results == {("chat", result): 1}
    assert result in RESULTS
    said = [f"pool chat: {engine.address} cannot be asked for a token of org/llama (HTTP 401)"] * (result == "unable")
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == said


async def test_nothing_is_asked_without_endpoints() -> None:
    """And stopping it twice harms nobody."""

    def due(most: int) -> list[str]:
        raise AssertionError(most)

    trying = Trying(due=due, on_event=lambda event: None, clock=lambda: 0.0)
    trying.set_endpoints({})
    await asyncio.sleep(0)
    await trying.stop()
    await trying.stop()
