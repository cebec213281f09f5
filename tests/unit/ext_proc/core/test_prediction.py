"""What a decision's record says will come of it."""

import json
import random

from ext_proc.core.events import FirstToken, RequestEnded
from ext_proc.core.picker import Named, Picker
from ext_proc.core.record import Predicted, Record
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings


def decided(picker: Picker, number: int, rng: random.Random, ttft_ms: float = 50.0) -> Record:
    """The record of one of some prompts, which is served at once."""
    prompt = f"{number % 3} " + "word " * (200 + 40 * (number % 9))
    body = json.dumps({"model": "m", "prompt": prompt, "stream": True}).encode()
    at = 100.0 + number
    named = picker.decide(RequestFacts(body=body, path="/v1/completions", cluster="p"), at, rng)
    assert isinstance(named, Named)
    served = named.endpoints[0]
    picker.apply(FirstToken(decision_id=named.decision_id, address=served, at=at + ttft_ms / 1e3, ttft_ms=ttft_ms))
    picker.apply(
        RequestEnded(
            decision_id=named.decision_id, at=at + 0.5, status=200, served=served, ttft_ms=ttft_ms, duration_ms=500
        )
    )
    record = picker.decisions.get(named.decision_id)
    assert record is not None
    return record


def picker_of(strategy: str) -> Picker:
    """A picker of two endpoints."""
    endpoints = tuple(EndpointSettings(address=f"10.0.0.{n}:8000") for n in (1, 2))
    pool = PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=endpoints)
    return Picker(PickerSettings(version="v", pools=(pool,)))


def test_a_strategy_that_does_not_look_at_prompts() -> None:
    """It predicts nothing."""
    assert decided(picker_of("round-robin"), 0, random.Random(1)).predicted == Predicted()


def test_kv_aware_predicts_once_it_has_learned() -> None:
    """Cached tokens from the first request on; times when they were learned, and then about what they were."""
    picker, rng = picker_of("kv-aware"), random.Random(1)
    first = decided(picker, 0, rng)
    assert (first.predicted.cached_tokens, first.predicted.ttft_ms) == (0, None)
    for number in range(1, 400):
        last = decided(picker, number, rng)
    assert (
        last.predicted.cached_tokens
        == dict(zip(last.candidates.addresses, last.candidates.terms["cached_tokens"], strict=True))[last.endpoints[0]]
    )
    assert last.predicted.wait_ms == 0
    assert last.predicted.ttft_ms is not None
    assert 25 < last.predicted.ttft_ms < 100
