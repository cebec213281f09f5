"""Who was no candidate, and why."""

import json
import random
from dataclasses import replace
from typing import Any

from ext_proc.core.events import AttemptEnded
from ext_proc.core.left_out import MAX_LEFT_OUT
from ext_proc.core.picker import Named, Picker
from ext_proc.core.record import Record
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import (
    AdmissionSettings,
    BatchSettings,
    EndpointSettings,
    FilterSettings,
    PickerSettings,
    PoolSettings,
    ShareSettings,
)

NAMES = [f"10.0.0.{n}:8000" for n in range(1, 5)]


def pods(**changes: dict[str, Any]) -> tuple[EndpointSettings, ...]:
    """Four endpoints `a` to `d`, changed by letter."""
    found = [EndpointSettings(address=address) for address in NAMES]
    for letter, change in changes.items():
        position = "abcd".index(letter)
        found[position] = replace(found[position], **change)
    return tuple(found)


def picker_of(endpoints: tuple[EndpointSettings, ...], **pool: Any) -> Picker:
    """A picker of one pool."""
    made = PoolSettings(name="p", cluster="p", strategy="primary-standby", endpoints=endpoints, **pool)
    return Picker(PickerSettings(version="v", pools=(made,)))


def decided(picker: Picker, prompt: str = "hello", **headers: str) -> Record:
    """The record of one request; header names have `_` for `-`."""
    named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"model": "m", "prompt": prompt}).encode()
    asked = RequestFacts(body=body, path="/v1/completions", cluster="p", headers=named_headers)
    named = picker.decide(asked, 100.0, random.Random(1))
    assert isinstance(named, Named)
    record = picker.decisions.get(named.decision_id)
    assert record is not None
    return record


def test_nobody() -> None:
    """As on most days."""
    record = decided(picker_of(pods()))
    assert (record.left_out, record.left_out_count) == ((), 0)


def test_unavailable_and_further_away() -> None:
    """What discovery keeps out, and who stands in another zone."""
    record = decided(picker_of(pods(a={"available": False, "state": "draining"}, c={"priority": 2}, d={"priority": 1})))
    assert record.endpoints[0] == NAMES[1]
    assert record.left_out_count == 3
    assert dict(record.left_out) == {
        NAMES[0]: "draining",
        NAMES[2]: "priority 2, priority 0 has somebody",
        NAMES[3]: "priority 1, priority 0 has somebody",
    }


def test_ejected() -> None:
    """Who refused a connection is out for a while."""
    picker = picker_of(pods())
    picker.apply(
        AttemptEnded(
            decision_id="x", address=NAMES[0], at=99.9, status=503, flags=("UF",), failure="connection refused"
        )
    )
    record = decided(picker)
    assert record.left_out == ((NAMES[0], "ejected after failures"),)


def test_batches() -> None:
    """Who is not the batch's own, and of those who is for other requests altogether."""
    filters = (FilterSettings(labels={"gpu": "h100"}), FilterSettings(batch=BatchSettings()))
    labelled = pods(a={"labels": {"gpu": "h100"}}, b={"labels": {"gpu": "h100"}})
    record = decided(picker_of(labelled, filters=filters), x_batch_id="nightly")
    (own,) = {NAMES[0], NAMES[1]} - dict(record.left_out).keys()
    assert record.endpoints[0] == own
    other = {NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]}[own]
    both = "filters[0] and filters[1]"
    assert dict(record.left_out) == {other: "filters[1]", NAMES[2]: both, NAMES[3]: both}


def test_filters_by_their_place_in_the_policy() -> None:
    """Those that it does not pass are named; neither one about other requests nor one that left nobody."""
    filters = (
        FilterSettings(labels={"gpu": "none"}),
        FilterSettings(kinds=frozenset({"chat"}), labels={"gpu": "l4"}),
        FilterSettings(labels={"gpu": "h100"}),
    )
    record = decided(picker_of(pods(b={"labels": {"gpu": "h100"}}, c={"labels": {"gpu": "l4"}}), filters=filters))
    assert record.endpoints[0] == NAMES[1]
    assert dict(record.left_out) == dict.fromkeys((NAMES[0], NAMES[2], NAMES[3]), "filters[2]")


def test_full() -> None:
    """Who has no place by the limits of the pool's admission."""
    picker = picker_of(pods(), admission=AdmissionSettings(max_in_flight=1, headroom=0.0))
    assert decided(picker).endpoints[0] == NAMES[0]
    assert decided(picker).left_out == ((NAMES[0], "full"),)


def test_only_some_are_told() -> None:
    """In a pool of hundreds the record stays small, and says how many there were."""
    many = tuple(EndpointSettings(address=f"10.0.1.{n}:8000", priority=int(n > 0)) for n in range(200))
    record = decided(picker_of(many))
    assert (len(record.left_out), record.left_out_count) == (MAX_LEFT_OUT, 199)


def test_a_nearer_level_whose_requests_move() -> None:
    """Nothing is wrong with its endpoints, and yet they are no candidates."""
    shares = (ShareSettings(priority=1, percent=100, why="spill-over from za"),)
    record = decided(picker_of(pods(b={"priority": 1}, c={"priority": 2}, d={"priority": 1}), shares=shares))
    assert record.reason.endswith("; priority 1: spill-over from za")
    assert record.left_out == (
        (NAMES[0], "priority 0, part of its requests is moved"),
        (NAMES[2], "priority 2, priority 1 has somebody"),
    )
