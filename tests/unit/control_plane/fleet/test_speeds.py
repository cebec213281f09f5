"""How fast endpoints are found to be, and what weights that would make right."""

import pytest

from control_plane.fleet.speeds import PRIOR, Observed, refusing, targets, why

CONFIGURED = {"a": 100, "b": 100}


def seen(speed: float, requests: float = 1e6, failed: float = 0.0) -> Observed:
    """Many requests at that speed, each of them one unit of work."""
    return Observed(requests, requests, failed, requests / speed, requests)


def test_in_proportion() -> None:
    """Of two that were measured for long one has its multiple of the other's weight; together it is what it was."""
    found = targets({"a": seen(3.0), "b": seen(1.0)}, CONFIGURED)
    assert found["a"] == pytest.approx(150.0, rel=1e-3)
    assert sum(found.values()) == pytest.approx(200.0)


def test_what_is_configured_is_believed_first() -> None:
    """Who did nothing is as quick as its weight says; who did as many requests as the prior has is half-way."""
    few = targets({"a": seen(3.0, PRIOR), "b": seen(1.0)}, CONFIGURED)
    many = targets({"a": seen(3.0), "b": seen(1.0)}, CONFIGURED)
    assert 1.0 < few["a"] / few["b"] < many["a"] / many["b"]
    nothing = targets({"a": Observed(), "b": seen(1.0)}, {"a": 300, "b": 100})
    assert nothing["a"] / nothing["b"] == pytest.approx(3.0)
    assert targets({"a": Observed(), "b": Observed()}, CONFIGURED) == {"a": 100.0, "b": 100.0}


def test_failures() -> None:
    """Half of the requests lost costs all but a sixteenth."""
    found = targets({"a": seen(1.0, failed=1e6), "b": seen(1.0)}, CONFIGURED)
    assert found["a"] / found["b"] == pytest.approx(1 / 16, rel=0.01)


def test_who_refuses() -> None:
    """Out of many who is beyond belief; of two only one whose requests take no time at all."""
    three = {"a": 1, "b": 1, "c": 1}
    assert refusing({"a": seen(20.0), "b": seen(1.0), "c": seen(1.0)}, three) == {"a"}
    assert refusing({"a": seen(20.0), "b": seen(1.0)}, CONFIGURED) == frozenset()
    assert refusing({"a": seen(200.0), "b": seen(1.0)}, CONFIGURED) == {"a"}
    assert refusing({"a": seen(200.0)}, {"a": 1}) == frozenset()


def test_words() -> None:
    """Seconds for each request, and how many failed; or that there were none."""
    assert why(seen(2.0, 10.0, failed=3.0)) == "0.50 s for each of 10 requests, 3 failed"
    assert why(Observed()) == "no requests lately"
    assert why(Observed(busy_s=5.0, seen=5.0)) == "its requests do not end"
