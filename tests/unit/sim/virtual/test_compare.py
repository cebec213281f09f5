"""Comparing two policies: what differs, how sure that is, and for whom."""

import random

import pytest

from sim.virtual.compare import MOST_GROUPS, NAMES, OTHERS, Comparison, Pair, compare
from sim.virtual.outcome import Outcome
from tests.unit.sim.virtual.outcomes import outcome


def series(ttfts: list[float], **values: object) -> tuple[Outcome, ...]:
    """One request a second."""
    return tuple(outcome(float(n), ttft_s=ttft, e2e_s=ttft + 1.0, **values) for n, ttft in enumerate(ttfts))


def compared(old: tuple[Outcome, ...], new: tuple[Outcome, ...]) -> Comparison:
    """One seed, with the chance of a replay."""
    return compare([Pair(1, old, new)], rng=random.Random(1))


def noise(seed: int, count: int = 300) -> list[float]:
    """First tokens between one and two seconds."""
    rng = random.Random(seed)
    return [1.0 + rng.random() for _ in range(count)]


def test_every_difference_is_new_less_old() -> None:
    """Half a second less to every first token: the same for mean and p90, and nothing else differs."""
    ttfts = noise(1)
    found = compared(series(ttfts), series([ttft - 0.5 for ttft in ttfts])).measures
    assert tuple(found) == NAMES
    for name in ("ttft_mean_ms", "ttft_p90_ms", "e2e_mean_ms", "e2e_p90_ms"):
        assert (found[name].difference, found[name].low, found[name].high) == (-500.0, -500.0, -500.0)
        assert found[name].verdict == "better"
        assert found[name].by_seed == (-500.0,)
    assert found["tpot_mean_ms"].verdict == found["cached_share"].verdict == "no difference seen"
    assert found["ttft_p90_ms"].old == round(sorted(ttfts)[269] * 1e3, 3)


def test_a_small_comparison_has_these_numbers() -> None:
    """Equal on any machine. Whoever changes the way of drawing on purpose renews this."""
    found = compared(series(noise(1)), series(noise(2))).measures
    assert [(e.old, e.new, e.difference, e.low, e.high) for e in (found["ttft_mean_ms"], found["ttft_p90_ms"])] == [
        (1493.651, 1495.198, 1.546, -61.545, 69.535),
        (1899.678, 1907.94, 8.262, -40.027, 59.927),
    ]


def test_requests_are_pairs() -> None:
    """A tenth of a second is seen in times that vary by a whole one, since it is the same requests that are faster."""
    ttfts = noise(2)
    rng = random.Random(3)
    found = compared(series(ttfts), series([ttft + 0.1 + 0.05 * rng.random() for ttft in ttfts]))
    worse = found.measures["ttft_mean_ms"]
    assert worse.verdict == "worse"
    assert worse.low is not None
    assert worse.high is not None
    assert 100 < worse.low < 125 < worse.high < 150


def test_chance_is_no_difference() -> None:
    """Two draws from the same distribution: nothing is claimed in nearly all of 40 comparisons at 95 %."""
    verdicts = [
        compared(series(noise(2 * n)), series(noise(2 * n + 1))).measures["ttft_mean_ms"].verdict for n in range(40)
    ]
    assert verdicts.count("no difference seen") >= 34


def test_the_same_is_no_difference() -> None:
    """Equal runs have differences of 0 and intervals of no width."""
    found = compared(series(noise(1)), series(noise(1)))
    assert {estimate.verdict for estimate in found.measures.values()} == {"no difference seen"}
    assert {estimate.difference for estimate in found.measures.values()} == {0.0}


def test_neighbours_count_less_than_strangers() -> None:
    """What comes in long waves is less sure than the same values in any order."""
    wave = [1.0 if n // 50 % 2 else 3.0 for n in range(600)]
    mixed = random.Random(4).sample(wave, len(wave))
    flat = series([2.0] * 600)
    wide, narrow = (compared(flat, series(ttfts)).measures["ttft_mean_ms"] for ttfts in (wave, mixed))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.difference == narrow.difference == 0.0
    assert wide.low < 2 * narrow.low < 0


def test_more_cached_is_better() -> None:
    """Of prompt tokens, not of requests; and less of it is worse."""
    few, many = series([1.0] * 60, cached_tokens=100), series([1.0] * 60, cached_tokens=900)
    found = compared(few, many).measures["cached_share"]
    assert (found.old, found.new, found.difference, found.verdict) == (0.1, 0.9, 0.8, "better")
    assert compared(many, few).measures["cached_share"].verdict == "worse"


def test_what_was_lost_is_counted_apart() -> None:
    """Times are of requests that both answered: losing the slow ones makes nothing faster."""
    ttfts = [9.0 if n % 2 else 1.0 for n in range(100)]
    lossy = tuple(
        outcome(float(n), ttft_s=None, e2e_s=None, status="failed") if ttft > 5 else outcome(float(n), ttft_s=ttft)
        for n, ttft in enumerate(ttfts)
    )
    found = compared(series(ttfts), lossy).measures
    assert (found["ttft_mean_ms"].old, found["ttft_mean_ms"].new) == (1_000.0, 1_000.0)
    assert (found["lost_share"].old, found["lost_share"].new, found["lost_share"].verdict) == (0.0, 0.5, "worse")
    found = compared(lossy, series(ttfts)).measures
    assert (found["ttft_mean_ms"].old, found["ttft_mean_ms"].new) == (1_000.0, 1_000.0)
    assert found["lost_share"].verdict == "better"


def test_nothing_in_common_is_nothing_measured() -> None:
    """If one side lost all, its times are unknown."""
    lost = tuple(outcome(float(n), ttft_s=None, e2e_s=None, status="shed") for n in range(40))
    found = compared(series([1.0] * 40), lost).measures
    assert found["ttft_mean_ms"].as_dict() == {
        "old": None, "new": None, "difference": None, "interval": None, "verdict": "too little to say",
        "by_seed": [None],
    }  # fmt: skip
    assert found["ttft_p90_ms"].verdict == "too little to say"
    assert found["lost_share"].difference == 1.0


def test_few_requests_say_too_little() -> None:
    """A difference may be there; an interval needs more stretches than that."""
    found = compared(series([2.0] * 7), series([1.0] * 7)).measures["ttft_mean_ms"]
    assert (found.difference, found.low, found.verdict) == (-1_000.0, None, "too little to say")


def test_a_stretch_is_no_shorter_than_a_request() -> None:
    """What is in flight at the end of one is what the next begins with: of requests that take long there are fewer.

    Equal rules on different chance, 500 requests within two and a half times of what each takes, would differ in a
    fifth of all comparisons otherwise.
    """

    def side(takes_s: float, seed: int) -> tuple[Outcome, ...]:
        return tuple(outcome(float(n), ttft, takes_s) for n, ttft in enumerate(noise(seed, 100)))

    def pairs(takes_s: float) -> list[Pair]:
        return [Pair(seed, side(takes_s, seed), side(takes_s, seed + 9)) for seed in (1, 2, 3)]

    short, long, longest = (
        compare(pairs(takes_s), rng=random.Random(1)).measures["ttft_mean_ms"] for takes_s in (9.0, 25.0, 45.0)
    )
    assert short.low is not None  # ten of each trace
    assert long.low is not None  # three of each
    assert long.low != short.low
    assert (longest.low, longest.verdict) == (None, "too little to say")  # two of each
    assert short.difference == long.difference == longest.difference


def test_seeds_of_one_trace_are_one_traffic() -> None:
    """Replaying a file again makes the interval no narrower; other traffic does."""
    rng = random.Random(6)
    old, new = series([2.0] * 300), series([2.0 + rng.random() - 0.4 for _ in range(300)])
    pairs = [Pair(seed, old, new) for seed in range(1, 5)]
    same, other = (
        compare(pairs, rng=random.Random(1), is_same_trace=is_same).measures["ttft_mean_ms"]
        for is_same in (True, False)
    )
    one = compare(pairs[:1], rng=random.Random(1)).measures["ttft_mean_ms"]
    assert (same.low, same.high) == (one.low, one.high)
    assert same.low is not None
    assert other.low is not None
    assert same.difference == other.difference
    assert same.low < other.low
    assert len(other.by_seed) == 4


def test_seeds_need_not_agree() -> None:
    """Each seed's own difference is told."""
    pairs = [Pair(seed, series([2.0] * 30), series([ttft] * 30)) for seed, ttft in ((1, 1.0), (2, 4.0))]
    found = compare(pairs, rng=random.Random(1)).measures
    assert found["ttft_mean_ms"].by_seed == (-1_000.0, 2_000.0)
    assert found["ttft_p90_ms"].by_seed == (-1_000.0, 2_000.0)


def test_one_seed_does_not_outvote_the_others() -> None:
    """The mean of all is far better, in one seed of three: that is no verdict; two of three are."""

    def verdict(*ttfts: float) -> str:
        pairs = [Pair(seed, series([2.0] * 30), series([ttft] * 30)) for seed, ttft in enumerate(ttfts, 1)]
        return compare(pairs, rng=random.Random(1)).measures["ttft_mean_ms"].verdict

    assert verdict(0.5, 2.1, 2.1) == "seeds disagree"
    assert verdict(0.5, 1.9, 2.1) == "better"
    assert verdict(0.5, 2.1) == "seeds disagree"


def test_who_gains_and_who_pays() -> None:
    """Models, tenants and lengths of prompts, each with its own difference."""
    kinds = [("a", "x", 500), ("b", "", 5_000)]

    def side(times: tuple[float, float]) -> tuple[Outcome, ...]:
        made = []
        for n in range(100):
            model, tenant, prompt = kinds[n % 2]
            ttft = times[n % 2]
            made.append(outcome(float(n), ttft, 9.0, model=model, tenant=tenant, prompt_tokens=prompt))
        return tuple(made)

    found = compared(side((1.0, 1.0)), side((2.0, 0.5)))
    assert [(g.by, g.name, g.requests, g.measures["ttft_mean_ms"].verdict) for g in found.groups] == [
        ("model", "a", 50, "worse"),
        ("model", "b", 50, "better"),
        ("tenant", "(none)", 50, "better"),
        ("tenant", "x", 50, "worse"),
        ("prompt", "under 1,000", 50, "worse"),
        ("prompt", "4,000 to 15,999", 50, "better"),
    ]


def test_one_group_is_no_group() -> None:
    """Where all requests are alike nothing is told apart."""
    assert compared(series([1.0] * 20), series([2.0] * 20)).groups == ()


def test_many_tenants_are_not_all_shown() -> None:
    """The largest by name; the rest together, so that no request is left out."""
    side = tuple(outcome(float(n), tenant=f"t{int(n**0.5):02}") for n in range(400))
    groups = compared(side, side).groups
    assert [group.name for group in groups] == [*(f"t{n:02}" for n in range(19, 19 - MOST_GROUPS, -1)), OTHERS]
    assert sum(group.requests for group in groups) == 400


def test_the_longest_prompts_have_a_class() -> None:
    """Without an upper end."""
    side = (outcome(0.0, prompt_tokens=64_000), outcome(1.0, prompt_tokens=63_999))
    assert [g.name for g in compared(side, side).groups] == ["16,000 to 63,999", "64,000 or more"]


def test_other_requests_are_no_pair() -> None:
    """The same trace on both sides, or nothing; and something at all."""
    with pytest.raises(ValueError, match="seed 3: the two runs did not have the same requests"):
        Pair(3, series([1.0]), series([1.0, 1.0]))
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([Pair(1, (), ())], rng=random.Random(1))
