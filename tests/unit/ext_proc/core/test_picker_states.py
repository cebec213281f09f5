"""Picks under every strategy in pools that have everything at once, and in which everything happens."""

import json
import random

import pytest

from ext_proc.core.events import AttemptEnded, Event, FirstToken, RequestEnded, Scraped
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.record import Record
from ext_proc.core.settings import (
    AdmissionSettings,
    BatchSettings,
    ChargeSettings,
    EndpointSettings,
    FilterSettings,
    HealthSettings,
    PickerSettings,
    PoolSettings,
    WarmupSettings,
)
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.core.strategies.view import Request

ADDRESSES = tuple(f"10.0.{number // 2}.{number}:80" for number in range(7))

FILTERS = (
    FilterSettings(kinds=frozenset({"chat"}), labels={"class": "big"}),
    FilterSettings(model=True),
    FilterSettings(batch=BatchSettings()),
)

STEPS = 100


def edited(rng: random.Random, live: str, shadow: str) -> PickerSettings:
    """The pool after one more edit: who is there, how far away, and who drains."""
    endpoints = tuple(
        EndpointSettings(
            address=address,
            priority=rng.choice((0, 0, 1, 2)),
            available=rng.random() > 0.15,
            labels={"class": rng.choice(("big", "small"))},
            far_ms=rng.choice((0.0, 5.0)),
        )
        for address in ADDRESSES
        if rng.random() > 0.15
    )
    pool = PoolSettings(
        name="p",
        cluster="p",
        strategy=live,
        shadow=shadow,
        endpoints=endpoints,
        filters=FILTERS,
        admission=AdmissionSettings(max_in_flight=2, headroom=0.5),
        warmup=WarmupSettings(duration_s=10.0),
        charges=ChargeSettings(session_ms=50.0),
        health=HealthSettings(),
    )
    return PickerSettings(version="v", pools=(pool,))


def wanted(rng: random.Random) -> Wanted:
    """Any request: of a session, of a batch, for an adapter, or none of these."""
    request = Request(
        kind=rng.choice(("chat", "embedding")),
        model=rng.choice(("m", "lora")),
        session=rng.choice(("", "s", "t")),
        headers=rng.choice(({}, {"x-batch-id": "b"})),
    )
    tokens = rng.choice((1, 1_000, 100_000))
    return Wanted(model="m", tokens=tokens, blocks=tuple(range(rng.choice((0, 4)))), timeout_s=60.0, request=request)


def happened(rng: random.Random, open_: list[Named], now: float) -> Event:
    """Something that is told of an endpoint or of a request."""
    address = rng.choice(ADDRESSES)
    if not open_ or rng.random() < 0.4:
        running = rng.choice((0, 3, 500))
        loaded = rng.choice((("lora",), ("another",)))
        return Scraped(address=address, at=now, running=running, waiting=running, max_loras=1, running_loras=loaded)
    named = open_.pop(rng.randrange(len(open_)))
    served = rng.choice(named.endpoints)
    match rng.randrange(3):
        case 0:
            return AttemptEnded(decision_id=named.decision_id, address=served, at=now, status=500)
        case 1:
            return FirstToken(decision_id=named.decision_id, address=served, at=now, ttft_ms=rng.choice((1.0, 5e3)))
        case _:
            return RequestEnded(decision_id=named.decision_id, at=now, status=200, served=served, prompt_tokens=900)


def check(record: Record, live: str) -> None:
    """It is JSON, each candidate has every term, and under `kv-aware` what is charged is there by name."""
    rows = json.loads(json.dumps(record.as_dict(), allow_nan=False))["candidates"]
    assert {row["address"] for row in rows} >= set(record.endpoints)
    assert all(row["terms"].keys() == rows[0]["terms"].keys() for row in rows)
    if live == "kv-aware":
        for row in rows:
            assert row["cost"] == pytest.approx(sum(ms for term, ms in row["terms"].items() if term.endswith("_ms")))


@pytest.mark.parametrize("live", STRATEGIES)
def test_every_pick_is_made_and_explained(live: str) -> None:
    """Levels, filters, limits, warm-up, charges, failures, edits and a shadow together: no pick fails, nobody is named
    twice, and the record is complete."""
    rng = random.Random(live)
    shadow = rng.choice(tuple(STRATEGIES))
    picker, now = Picker(edited(rng, live, shadow), shadow_rng=random.Random(1)), 0.0
    open_: list[Named] = []
    terms: set[str] = set()
    picks = 0
    for _ in range(STEPS):
        now += rng.expovariate(2.0)
        if rng.random() < 0.1:
            picker.apply_settings(edited(rng, live, shadow), now)
        answer = picker.place("p", wanted(rng), now, rng)
        if isinstance(answer, Named):
            picks += 1
            assert len(set(answer.endpoints)) == len(answer.endpoints)
            (record,) = picker.decisions.latest(1)
            check(record, live)
            terms.update(record.candidates.terms)
            open_.append(answer)
        for _ in range(3):
            picker.apply(happened(rng, open_, now))
        picker.apply(AttemptEnded(decision_id="another", address=ADDRESSES[0], at=now, status=429))
        picker.apply(RequestEnded(decision_id="another", at=now, status=200, served=ADDRESSES[1]))
    assert picks > STEPS / 2
    if live == "kv-aware":
        assert terms >= {"cross_zone_ms", "errors_ms", "adapter_ms", "session_ms"}
