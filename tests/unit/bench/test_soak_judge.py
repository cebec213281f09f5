"""A long run is judged by what was sampled: leaks, losses and what stays behind are seen, noise is not."""

import random

import pytest

from bench.soak_judge import FDS_GROWTH, RSS_GROWTH_KIB, WARM_UP_SHARE, Counts, Sample, growth, verdicts

FINE = Counts(sent=100, answered=98, left=1, cut=1)
NOTHING = {"picker": 0, "envoy": 0}


def run(seconds: int, rss_per_s: float = 0.0, fds_per_s: float = 0.0, noise_kib: int = 0) -> list[Sample]:
    """A process of 100 MiB and 40 descriptors that fills up in the warm-up, and grows by so much from then on."""
    rng = random.Random(1)
    warm_s = seconds * WARM_UP_SHARE
    return [
        Sample(
            at_s=float(at_s),
            rss_kib=round(
                102_400
                + 20_480 * min(1.0, at_s / warm_s)
                + rss_per_s * max(0.0, at_s - warm_s)
                + rng.uniform(-noise_kib, noise_kib)
            ),
            fds=round(40 + fds_per_s * at_s),
        )
        for at_s in range(seconds)
    ]


def broken(samples: list[Sample], counts: Counts = FINE, left: dict[str, int] = NOTHING) -> list[str]:
    """The names of the bounds that do not hold."""
    return [one.name for one in verdicts({"kvpilot": samples}, counts, left, 0.0) if not one.holds]


def test_a_process_that_stays_as_it_is() -> None:
    """What it takes while it warms up is none of it, and noise is not."""
    assert broken(run(120)) == []
    assert broken(run(120, noise_kib=2 * RSS_GROWTH_KIB)) == []


def test_a_leak_is_seen() -> None:
    """Of memory and of descriptors, each for itself; more than the bound between the two windows."""
    between_s = 600 * (1 - WARM_UP_SHARE) * 2 / 3
    assert broken(run(600, rss_per_s=1.1 * RSS_GROWTH_KIB / between_s, noise_kib=500)) == ["memory of kvpilot"]
    assert broken(run(600, rss_per_s=0.8 * RSS_GROWTH_KIB / between_s, noise_kib=500)) == []
    assert broken(run(600, fds_per_s=1.2 * FDS_GROWTH / between_s)) == ["descriptors of kvpilot"]


def test_a_big_process_may_grow_by_a_share() -> None:
    """Four percent of a gigabyte are more than eight MiB."""
    big = [Sample(one.at_s, one.rss_kib + 1_000_000, one.fds) for one in run(600, rss_per_s=80.0)]
    assert broken(big) == []
    assert broken(run(600, rss_per_s=80.0)) == ["memory of kvpilot"]


def test_a_peak_moves_nothing() -> None:
    """A fault that is on while a few samples are taken is no leak."""
    samples = run(120)
    peak = [Sample(one.at_s, one.rss_kib * 2, one.fds * 10) if one.at_s in (80, 110, 115) else one for one in samples]
    assert broken(peak) == []


@pytest.mark.parametrize("seconds", [0, 1, 10])
def test_too_few_samples_prove_nothing(seconds: int) -> None:
    """A process of which hardly anything was seen is a broken bound."""
    assert broken(run(seconds)) == ["kvpilot"]


@pytest.mark.parametrize(
    ("counts", "left", "expected"),
    [
        (Counts(sent=100, answered=99, lost=1), NOTHING, ["lost"]),
        (Counts(sent=100, answered=99, unended=1), NOTHING, ["unended"]),
        (Counts(), NOTHING, ["lost"]),
        (FINE, {"picker": 1, "envoy": 0}, ["in flight after the end: picker"]),
        (FINE, {"picker": 0, "envoy": 2}, ["in flight after the end: envoy"]),
    ],
)
def test_what_is_lost_or_left(counts: Counts, left: dict[str, int], expected: list[str]) -> None:
    """Each is a bound of its own; a run without requests proves nothing."""
    assert broken(run(120), counts, left) == expected


def test_a_share_may_be_lost() -> None:
    """As many as was said, not more."""
    for lost, holds in ((1, True), (2, False)):
        found = verdicts({"kvpilot": run(120)}, Counts(sent=100, lost=lost), NOTHING, 0.01)
        assert all(one.holds for one in found) == holds


def test_the_slope_is_one_of_hours() -> None:
    """A mebibyte a minute is 60 an hour, however long the run was."""
    samples = run(600, rss_per_s=1024 / 60)
    found = growth(samples, [one.rss_kib for one in samples])
    assert found is not None
    assert found.per_hour / 1024 == pytest.approx(60, rel=0.01)
