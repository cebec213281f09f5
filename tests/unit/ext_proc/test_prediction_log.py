"""Verdicts as lines of the log, and as counts."""

import logging
from collections import Counter

import pytest

from ext_proc.core.truth import Change, Verdict
from ext_proc.prediction_log import tell


def test_a_pool_that_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """A warning that says what follows, with its parts for machines; it is counted."""
    counts: Counter[tuple[str, str]] = Counter()
    tell(Change("chat", "", Verdict.FINE, Verdict.OVER, 0.25, "engines find 25%"), counts)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "predictions of pool chat: over: engines find 25%; cached tokens count 25% in picks there"
    )
    assert (record.__dict__["event"], record.__dict__["pool"], record.__dict__["trust"]) == ("prediction", "chat", 0.25)
    assert counts == {("chat", "over"): 1}


def test_the_way_back(caplog: pytest.LogCaptureFixture) -> None:
    """Of an endpoint: told, and not counted as the pool's."""
    caplog.set_level(logging.INFO, "kvpilot")
    counts: Counter[tuple[str, str]] = Counter()
    tell(Change("chat", "10.0.0.1:8000", Verdict.OVER, Verdict.FINE, 1.0, "90% was found"), counts)
    assert caplog.messages == [
        "predictions of pool chat, endpoint 10.0.0.1:8000: fine: 90% was found; cached tokens count in full again"
    ]
    assert not counts


def test_what_is_as_it_should_be(caplog: pytest.LogCaptureFixture) -> None:
    """The first verdict of a healthy pool is nobody's news."""
    caplog.set_level(logging.INFO, "kvpilot")
    tell(Change("chat", "", Verdict.UNKNOWN, Verdict.FINE, 1.0, "all was found"), Counter())
    tell(Change("chat", "", Verdict.UNKNOWN, Verdict.UNTOLD, 1.0, "0 of 128 answers told"), Counter())
    assert caplog.messages == ["predictions of pool chat: untold: 0 of 128 answers told"]
