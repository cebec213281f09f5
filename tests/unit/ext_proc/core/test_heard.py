"""Of every number the newest, its age and its source; and for how long each source may be silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.heard import MAX_FRESH_S, MIN_FRESH_S, Heard, Source


def test_the_newest_of_each_number_counts() -> None:
    """Whoever told it; what is older than the known one is no news."""
    heard = Heard()
    assert heard.take(0, "scrape", 10.0, {"running": 3, "waiting": 1}) == {"running": 3, "waiting": 1}
    assert heard.take(0, "orca", 11.0, {"waiting": 5}) == {"waiting": 5}
    assert heard.take(0, "report", 10.5, {"running": 4, "waiting": 2}) == {"running": 4}
    assert heard.status(0, 12.0) == {
        "running": {"value": 4, "age_s": 1.5, "source": "report"},
        "waiting": {"value": 5, "age_s": 1.0, "source": "orca"},
    }
    assert heard.status(1, 12.0) == {}


def test_ages_are_never_negative() -> None:
    """Whoever asks with an earlier time than that of the number gets 0."""
    heard = Heard()
    heard.take(0, "scrape", 10.0, {"running": 3})
    assert heard.status(0, 9.0)["running"]["age_s"] == 0
    assert (heard.age_s(0, "scrape", 9.0), heard.age_s(0, "report", 9.0)) == (0, None)


def told_at(heard: Heard, *times: float, source: Source = "scrape") -> float:
    """For how long a number is fresh after a source was heard at these times."""
    for at in times:
        heard.take(0, source, at, {"running": 0})
    return heard.fresh_s(0, source)


def test_freshness_follows_the_interval() -> None:
    """Twice the interval at which an endpoint is heard, within bounds; sources do not disturb each other."""
    assert told_at(Heard(), 0.0) == MIN_FRESH_S
    assert told_at(Heard(), 0.0, 0.2, 0.4) == MIN_FRESH_S
    assert told_at(Heard(), 0.0, 4.0, 8.0) == 8.0
    assert told_at(Heard(), 0.0, 100.0, 200.0) == MAX_FRESH_S
    heard = Heard()
    assert told_at(heard, 0.0, 4.0, 8.0) == 8.0
    assert told_at(heard, 8.1, 8.2, 8.3, source="orca") == MIN_FRESH_S
    assert heard.fresh_s(0, "scrape") == 8.0


def test_one_outage_is_no_rhythm() -> None:
    """A long silence between short ones changes nothing; the second of two makes a slower rhythm."""
    heard = Heard()
    assert told_at(heard, 0.0, 0.2, 0.4, 20.4) == MIN_FRESH_S
    assert told_at(heard, 20.6) == MIN_FRESH_S
    assert told_at(heard, 25.6, 30.6) == 10.0


@pytest.mark.parametrize(("said_s", "fresh_s"), [(0.1, MIN_FRESH_S), (5.0, 10.0), (3600.0, MAX_FRESH_S)])
def test_a_source_may_say_its_interval(said_s: float, fresh_s: float) -> None:
    """It counts from the first word on."""
    heard = Heard()
    heard.take(0, "report", 0.0, {"running": 1}, said_s)
    assert heard.fresh_s(0, "report") == fresh_s


def test_reset_forgets() -> None:
    """Numbers and rhythms."""
    heard = Heard()
    told_at(heard, 0.0, 4.0, 8.0)
    heard.reset(0)
    assert (heard.status(0, 9.0), heard.age_s(0, "scrape", 9.0), heard.fresh_s(0, "scrape")) == ({}, None, MIN_FRESH_S)


_SAYINGS = st.tuples(
    st.sampled_from(["scrape", "report", "orca"]),
    st.integers(0, 50).map(float),
    st.dictionaries(st.sampled_from(["running", "waiting", "kv_usage"]), st.integers(0, 9)),
    st.none() | st.floats(0.05, 60.0),
)


@given(st.lists(_SAYINGS, max_size=30))
def test_any_interleaving_ends_with_the_newest(
    sayings: list[tuple[Source, float, dict[str, int], float | None]],
) -> None:
    """Like a list of everything said, of which the latest by time, among equals the last, is looked up."""
    heard = Heard()
    for source, at, numbers, interval_s in sayings:
        heard.take(0, source, at, numbers, interval_s)
        assert MIN_FRESH_S <= heard.fresh_s(0, source) <= MAX_FRESH_S
    for name in ("running", "waiting", "kv_usage"):
        said = [(at, number, numbers[name]) for number, (_, at, numbers, _) in enumerate(sayings) if name in numbers]
        found = heard.told(0).get(name)
        if not said:
            assert found is None
            continue
        at, number, value = max(said)
        assert found is not None
        assert (found.value, found.at, found.source) == (value, at, sayings[number][0])
        assert heard.status(0, 25.0)[name]["age_s"] == max(0.0, 25.0 - at)
