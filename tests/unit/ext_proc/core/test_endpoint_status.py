"""What an operator is shown of an endpoint."""

import pytest

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.endpoint_status import load_of, status_of
from ext_proc.core.events import FirstToken, Scraped
from tests.unit.ext_proc.core.test_fleet import A, B, fleet, picked


def test_status_of_an_endpoint() -> None:
    """A pick, its first token and a scrape, as JSON values."""
    it = fleet(A)
    it.apply(picked(), None)
    assert status_of(it, A, 1.0) == {
        "address": A,
        "health": "healthy",
        "state": "unknown",
        "why": "",
        "in_flight": 1,
        "waiting": 1.0,
        "running": 0.0,
        "queued_tokens": 30,
        "decoding": 0,
        "index_blocks": 3,
        "speed_factor": 1.0,
        "claims_worth": 1.0,
        "scrape_age_s": None,
        "told": {},
    }
    it.apply(FirstToken(decision_id="d", address=A, at=1.0, ttft_ms=1_000), None)
    it.apply(Scraped(address=A, at=1.0, running=4, waiting=2, kv_tokens=2 * BLOCK_TOKENS), None)
    status = status_of(it, A, 1.25)
    assert (status["running"], status["waiting"], status["decoding"], status["scrape_age_s"]) == (4.0, 2.0, 1, 0.25)
    assert status["told"]["waiting"] == {"value": 2, "age_s": 0.25, "source": "scrape"}
    with pytest.raises(KeyError):
        status_of(it, B, 0.0)


def test_what_runs_at_an_endpoint() -> None:
    """The picker's own, and what the engine says beyond that; nothing of an endpoint that is not known."""
    it = fleet(A)
    assert load_of(it, B, 0.0) is None
    assert load_of(it, A, 0.0) == (0, 0.0, None)
    it.apply(picked(), None)
    it.apply(Scraped(address=A, at=1.0, running=3, waiting=1), None)
    assert load_of(it, A, 1.25) == (1, 3.0, 0.25)
