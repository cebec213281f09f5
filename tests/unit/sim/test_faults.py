"""Faults: what is accepted, and who takes them."""

import random

import pytest

from sim.faults import KINDS, BadFaultError, Fault, FaultBox, parse

RNG = random.Random(1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_accepted(kind: str) -> None:
    """A kind alone is a whole fault."""
    assert parse(f'{{"kind": "{kind}"}}'.encode()) == Fault(kind)


def test_null_clears() -> None:
    """`{"kind": null}` means no fault."""
    assert parse(b'{"kind": null}') is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "truncated"),
        (b"{}", "kind"),
        (b"[]", "object"),
        (b'{"kind": "explode"}', "kind must be"),
        (b'{"kind": "slow", "facter": 2}', "facter"),
        (b'{"kind": "slow", "factor": 0}', "factor"),
        (b'{"kind": "status", "code": 200}', "code"),
        (b'{"kind": "status", "probability": 0}', "probability"),
        (b'{"kind": "cut", "after_chunks": -1}', "after_chunks"),
        (b'{"kind": "die", "count": 0}', "count"),
        (b'{"kind": "refuse", "count": 1}', "count"),
        (b'{"kind": "cut", "scope": "all"}', "scope"),
        (b'{"kind": "die", "scope": "some"}', "scope"),
        (b'{"kind": "\x80"}', "utf-8"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_nonsense_is_refused(body: bytes, reason: str) -> None:
    """A fault that would not do what was meant is an error."""
    with pytest.raises(BadFaultError, match=reason):
        parse(body)


def test_a_count_runs_out() -> None:
    """After so many requests the fault is over."""
    box = FaultBox()
    box.set(Fault("die", count=2))
    assert [box.for_request(RNG) is not None for _ in range(3)] == [True, True, False]
    assert box.current is None


def test_a_probability_is_a_share() -> None:
    """About that share of requests has it, and only those count."""
    box = FaultBox()
    box.set(Fault("status", probability=0.3, count=30))
    rng = random.Random(7)
    taken = [box.for_request(rng) is not None for _ in range(1000)]
    assert sum(taken) == 30
    assert 60 < max(index for index, hit in enumerate(taken) if hit) < 160


def test_scrapes_and_requests_take_their_own() -> None:
    """A failing scrape leaves requests alone, a dying request the scrapes, unless the whole process has it."""
    box = FaultBox()
    box.set(Fault("fail_scrape"))
    assert (box.for_request(RNG), box.for_other(RNG)) == (None, None)
    assert box.for_scrape(RNG) == Fault("fail_scrape")
    box.set(Fault("die"))
    assert (box.for_scrape(RNG), box.for_other(RNG)) == (None, None)
    box.set(Fault("hang", scope="all"))
    assert box.for_scrape(RNG) == box.for_other(RNG) == box.for_request(RNG) == Fault("hang", scope="all")
