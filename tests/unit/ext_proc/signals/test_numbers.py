"""Numbers of engines: what is taken, what is nonsense, and how two looks become one."""

import math
from dataclasses import fields

import pytest

from ext_proc.core.events import Scraped
from ext_proc.signals.numbers import FIELDS, Numbers, Scrape, is_number, merged, ratio


@pytest.mark.parametrize(
    ("value", "share"),
    [(0, 0.0), (0.95, 0.95), (1.0, 1.0), (1.005, 1.0), (93.0, 0.93), (100, 1.0), (101, None), (-1, None)],
)
def test_ratio(value: float, share: float | None) -> None:
    """A share is 0 to 1; a little over one is rounding, more was meant as per cent, nonsense is not told."""
    assert ratio(value) == share


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e15, True, "3", None])
def test_no_number(value: object) -> None:
    """What engines say for "no data", and what is no count of anything."""
    assert not is_number(value)


def test_the_first_counts() -> None:
    """A number is taken once, whole where it counts something, with its source; None and nonsense are not taken."""
    numbers = Numbers()
    numbers.take("running", None)
    numbers.take("running", (-1, "bad"))
    numbers.take("running", (3.0, "good"))
    numbers.take("running", (4.0, "late"))
    numbers.take("kv_usage", (1e9, "bad"))
    numbers.take("kv_usage", (50, "good"))
    numbers.tell("is_asleep", False, "good")
    numbers.tell("is_asleep", True, "late")
    found = numbers.scrape()
    assert found.values() == {"running": 3, "kv_usage": 0.5, "is_asleep": False}
    assert isinstance(found.running, int)
    assert found.sources == dict.fromkeys(("running", "kv_usage", "is_asleep"), "good")


def test_merged() -> None:
    """What the first look tells counts, and from the second what only it tells."""
    one = Scrape(running=0, is_asleep=False, sources={"running": "a", "is_asleep": "a"})
    two = Scrape(running=5, waiting=2, is_asleep=True, sources={"running": "b", "waiting": "b", "is_asleep": "b"})
    both = merged(one, two)
    assert both == Scrape(running=0, waiting=2, is_asleep=False)
    assert both.sources == {"running": "a", "waiting": "b", "is_asleep": "a"}
    assert [each.tells_load for each in (one, two, both)] == [False, True, True]
    assert [each.untold_load for each in (one, two, Scrape())] == [("waiting",), (), ("running", "waiting")]


def test_the_event_has_every_number() -> None:
    """What is read reaches the picker: the event has all fields of a look, with the same meaning of None."""
    event = {each.name: each for each in fields(Scraped)}
    assert set(event) == {*FIELDS, "address", "at"}
    assert all(event[name].default is None for name in FIELDS if name not in ("running", "waiting"))
