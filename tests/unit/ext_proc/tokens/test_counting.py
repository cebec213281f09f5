"""Requests that wait for their tokens, and what of the settings tokens allow."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.decision import Waiting
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, KvEventSettings, PickerSettings, PoolSettings
from ext_proc.signals.pod_tls import no_token, plaintext
from ext_proc.tokens.counting import Counting
from ext_proc.tokens.status import prefix_status
from tests.unit.ext_proc.tokens.test_prompts import model

FACTS = RequestFacts(body=b"{}")
POOL = PoolSettings(
    name="p",
    cluster="c",
    endpoints=(EndpointSettings(address="10.0.0.1:1"), EndpointSettings(address="10.0.0.2:1")),
    models=("m",),
    kv_events=KvEventSettings(is_exact=True),
)
SETTINGS = PickerSettings(version="1", pools=(POOL,), models={"m": "m"}, tokenizers={"m": "file"})


def counting(reapply: Callable[[PickerSettings], None] = lambda settings: None) -> Counting:
    """One that asks nobody."""
    return Counting(lambda: 0.0, lambda cluster: None, plaintext, no_token, reapply)


def will_give(made: Counting, monkeypatch: pytest.MonkeyPatch, gives: "asyncio.Future[Counted]") -> None:
    """The next request waits for this."""

    async def waits() -> Counted:
        return await gives

    monkeypatch.setattr(made.prompts, "count", lambda facts: asyncio.create_task(waits()))


async def test_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose tokens are there, or of no interest, goes on."""
    made = counting()
    assert made.begin(FACTS) is FACTS
    monkeypatch.setattr(made.prompts, "count", lambda facts: Counted(b"abcd"))
    assert made.begin(FACTS) == replace(FACTS, counted=Counted(b"abcd"))


async def test_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket, then the request with its tokens, or without if their task failed."""
    made = counting()
    gone_on: list[RequestFacts] = []
    for outcome in (b"abcd", None):
        gives = asyncio.get_running_loop().create_future()
        will_give(made, monkeypatch, gives)
        waiting = made.begin(FACTS)
        assert isinstance(waiting, Waiting)
        assert waiting.ticket < 0
        assert waiting.for_s == 0
        made.when_done(waiting.ticket, gone_on.append)
        if outcome is None:
            gives.set_exception(RuntimeError("a bug"))
        else:
            gives.set_result(Counted(outcome))
        for _ in range(4):
            await asyncio.sleep(0)
    assert [each.counted for each in gone_on] == [Counted(b"abcd"), Counted(None, "internal error")]


async def test_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on with a request whose client left."""
    made = counting()
    will_give(made, monkeypatch, asyncio.get_running_loop().create_future())
    waiting = made.begin(FACTS)
    assert isinstance(waiting, Waiting)
    gone_on: list[RequestFacts] = []
    made.when_done(waiting.ticket, gone_on.append)
    made.abandon(waiting.ticket)
    made.abandon(waiting.ticket)
    for _ in range(4):
        await asyncio.sleep(0)
    assert not gone_on


def is_exact(settings: PickerSettings) -> bool:
    """Whether the word of the pool's engines is taken."""
    events = settings.pools[0].kv_events
    assert events is not None
    return events.is_exact


def test_engines_are_believed_where_all_prompts_are_tokenised() -> None:
    """As soon as the files are there, and only where every model of the pool has some."""
    applied: list[PickerSettings] = []
    made = counting(applied.append)
    assert not is_exact(made.apply_settings(SETTINGS))
    made.prompts.set_models({"m": model()})
    assert applied == [SETTINGS]
    assert is_exact(made.apply_settings(SETTINGS))
    two = replace(SETTINGS, pools=(replace(POOL, models=("m", "other")),))
    assert not is_exact(made.apply_settings(two))
    made.apply_settings(SETTINGS)
    made.prompts.set_models({})
    assert applied == [SETTINGS, SETTINGS]
    assert FACTS.counted is NOT_COUNTED


def test_in_words() -> None:
    """What a pool's index is kept by, and why."""
    made = counting()
    made.apply_settings(SETTINGS)
    assert prefix_status(POOL, made, 0) == {
        "mode": "auto",
        "by": "approximate",
        "blocks_of": "text",
        "telling": 0,
        "why": "the prompts of 'm' are not tokenised: its tokenizer's files cannot be used",
    }
    made.prompts.set_models({"m": model()})
    assert prefix_status(POOL, made, 1) == {
        "mode": "auto",
        "by": "precise",
        "blocks_of": "tokens",
        "telling": 1,
        "why": "1 of 2 endpoints have told of their blocks",
    }
    assert prefix_status(POOL, made, 2)["why"] == ""
    assert prefix_status(replace(POOL, kv_events=None), made, 0)["why"] == "the pool has no `kvEvents`"
    silent = replace(POOL, prefix_mode="approximate", kv_events=KvEventSettings())
    assert prefix_status(silent, made, 0)["why"] == "the policy says so"
    assert prefix_status(replace(POOL, models=()), made, 0)["blocks_of"] == "text"
    assert "no `tokenizer`" in prefix_status(POOL, None, 0)["why"]
