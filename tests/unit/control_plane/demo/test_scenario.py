"""The three acts against simulated pods, and what is made of decisions and outcomes."""

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from control_plane.demo import scenario
from control_plane.demo.scenario import (
    COMPARED_CONVERSATIONS,
    LOAD_REQUESTS,
    TURNS,
    KillReport,
    Target,
    converse,
    kill_under_load,
    measure,
    outcome,
)
from control_plane.openai_client import Answer
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from tests.kit.fleet import quick_fleet

POD, OTHER = "127.0.0.1:8001", "127.0.0.1:8002"


def nobody_asked(_: str) -> None:
    """There is no picker: nothing is known of any decision."""


def no_progress(_: str) -> None:
    """Nobody looks."""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session of the test's own."""
    async with aiohttp.ClientSession() as opened:
        yield opened


def told(session: aiohttp.ClientSession, decisions: Mapping[str, Any]) -> Target:
    """A target of which only these decisions are known."""
    return Target(session, "http://127.0.0.1:1", decisions.get)


def decision(served: str | None = POD, status: int | None = 200, attempts: int = 1) -> dict[str, Any]:
    """A decision as `/decisions/{id}` gives it."""
    return {
        "endpoints": [POD, OTHER],
        "reason": "cache: 16 of 20 tokens on 127.0.0.1:8001, queue 0",
        "outcome": {"served": served, "status": status, "attempts": attempts},
    }


async def test_an_outcome_is_waited_for(session: aiohttp.ClientSession) -> None:
    """The access log's record comes a moment after the answer."""
    looks = [decision(status=None), decision(status=None), decision()]
    found = await outcome(Target(session, "", lambda _: looks.pop(0)), "d")
    assert found is not None
    assert found["outcome"]["status"] == 200
    assert not looks


async def test_a_lost_outcome_does_not_hang_the_demo(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the bound the decision is given without it."""
    monkeypatch.setattr(scenario, "OUTCOME_TIMEOUT_S", 0.05)
    lost = decision(served=None, status=None)
    assert await outcome(told(session, {"d": lost}), "d") == lost


async def test_an_unknown_decision(session: aiohttp.ClientSession) -> None:
    """Nothing is waited for."""
    assert await outcome(told(session, {}), "d") is None


async def test_a_row(session: aiohttp.ClientSession) -> None:
    """Who was picked and who served come from the decision, what the user felt from the answer."""
    answer = Answer(status=200, finished=True, decision="d", ttft_ms=3.0, prompt_tokens=20, cached_tokens=16)
    row = await scenario._row(told(session, {"d": decision(served=OTHER)}), "chat 1 turn 1", "m", answer)
    assert (row.picked, row.served, row.ok) == (POD, OTHER, True)
    assert (row.cached_tokens, row.prompt_tokens, row.ttft_ms) == (16, 20, 3.0)
    assert row.reason == "cache: 16 of 20 tokens, queue 0"


async def test_a_row_without_a_decision(session: aiohttp.ClientSession) -> None:
    """Dashes, and why: the error there was, or that nobody asked the picker."""
    row = await scenario._row(told(session, {}), "r", "m", Answer(status=503, error="no healthy upstream"))
    assert (row.picked, row.served, row.reason, row.ok) == ("-", "-", "no healthy upstream", False)
    row = await scenario._row(told(session, {}), "r", "m", Answer(status=200, finished=True))
    assert (row.reason, row.ok) == ("the picker was not asked", True)


@pytest.mark.parametrize("address", ["10.0.0.1:8000", "[fd00::a1]:8000"])
@pytest.mark.parametrize("strategy", ["kv-aware", "least-request", "queue-depth"])
def test_reasons_lose_the_address_and_nothing_else(strategy: str, address: str) -> None:
    """The picker's own reasons: the address has a column of its own, every other word stays."""
    pool = PoolSettings(name="p", cluster="c", strategy=strategy, endpoints=(EndpointSettings(address=address),))
    picker = Picker(PickerSettings(version="v", pools=(pool,)))
    facts = RequestFacts(
        body=b'{"model": "m", "prompt": "Once upon a time"}',
        path="/v1/completions",
        method="POST",
        route="",
        cluster="c",
        session="",
        content_type="application/json",
        request_id="",
    )
    picker.decide(facts, 0.0, random.Random(1))
    (record,) = picker.decisions.latest(1)
    assert scenario._short(record.reason) == record.reason.replace(f" on {address}", "")
    assert address in record.reason


async def test_conversations_on_a_real_pod(session: aiohttp.ClientSession) -> None:
    """Three chats turn by turn, then unrelated prompts; later turns are cached, unrelated prompts are not."""
    said: list[str] = []
    async with quick_fleet(1, "a", "b") as fleet:
        target = Target(session, f"http://{fleet.addresses[0]}", nobody_asked)
        rows = await converse(target, ("a", "b"), 1, said.append)
    chats, unrelated = rows[: 3 * TURNS], rows[3 * TURNS :]
    assert all(row.ok for row in rows)
    assert [row.request for row in chats[:4]] == ["chat 1 turn 1", "chat 2 turn 1", "chat 3 turn 1", "chat 1 turn 2"]
    assert [row.model for row in chats[:3]] == ["a", "b", "a"]
    assert all(row.cached_tokens < 100 for row in chats[:3])
    assert all(row.cached_tokens > 1000 for row in chats[3:])
    assert [row.request for row in unrelated] == [f"unrelated {number}" for number in (1, 2, 3, 4)]
    assert all(row.cached_tokens < 100 for row in unrelated)
    assert said[0] == f"turn 1 of {TURNS}"


async def test_the_comparison_on_a_real_pod(session: aiohttp.ClientSession) -> None:
    """Every turn of every conversation is counted; times are in order, and most of the prompts are cached."""
    async with quick_fleet(1, "a") as fleet:
        target = Target(session, f"http://{fleet.addresses[0]}", nobody_asked)
        report = await measure(target, "kv-aware", "a", 1, no_progress)
    assert (report.strategy, report.requests, report.failed) == ("kv-aware", COMPARED_CONVERSATIONS * TURNS, 0)
    assert report.mean_ttft_ms > 0
    assert report.p90_ttft_ms > 0
    assert 0.5 < report.cached_share < 1


async def test_the_comparison_without_a_pod(session: aiohttp.ClientSession) -> None:
    """All failed, and no average of nothing."""
    report = await measure(told(session, {}), "kv-aware", "a", 1, no_progress)
    assert report.failed == report.requests == COMPARED_CONVERSATIONS * TURNS
    assert (report.mean_ttft_ms, report.p90_ttft_ms, report.cached_share) == (0.0, 0.0, 0.0)


async def test_a_kill_under_load_with_nobody_left(session: aiohttp.ClientSession) -> None:
    """The only pod dies in the midst of it: every request is accounted for, and the act ends."""
    said: list[str] = []
    async with quick_fleet(1, "a") as fleet:
        (pod,) = fleet.pods
        target = Target(session, f"http://{pod.address}", lambda decision_id: decision(served=pod.address))
        asked: list[str] = []

        async def kill(address: str) -> None:
            asked.append(address)
            await pod.stop()

        report = await kill_under_load(target, "a", 1, kill, said.append)
        assert not pod.is_running
    assert asked == [report.killed] == decision()["endpoints"][:1]
    assert report.sent == LOAD_REQUESTS + 1 == report.ok + report.cut_streams + report.failed
    assert report.ok >= scenario.KILL_AFTER
    assert report.failed > 0
    assert said[-1] == f"{LOAD_REQUESTS} of {LOAD_REQUESTS} answered"


async def test_who_is_to_blame_for_a_cut(session: aiohttp.ClientSession) -> None:
    """Only a stream that had begun on the killed pod counts as cut; anything else that broke has failed."""
    decisions = {
        "good": decision(),
        "moved": decision(served=OTHER, attempts=2),
        "cut": decision(served=POD),
        "cut elsewhere": decision(served=OTHER),
        "refused": decision(served=None, status=503),
    }
    answers = [
        Answer(status=200, finished=True, decision="good"),
        Answer(status=200, finished=True, decision="moved"),
        Answer(status=200, decision="cut"),
        Answer(status=200, decision="cut elsewhere"),
        Answer(status=503, decision="refused"),
        Answer(status=0),
        Answer(status=200),
    ]
    report = await scenario._kill_report(told(session, decisions), POD, answers)
    assert report == KillReport(killed=POD, sent=7, ok=2, cut_streams=1, failed=4, retried=1)
