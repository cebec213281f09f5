"""Filters: which requests they are about, and who comes first for them."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, ModelsListed, Scraped
from ext_proc.core.filters import filters_of, is_about, narrowed
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.settings import BatchSettings, EndpointSettings, FilterSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.view import Request

LONG = FilterSettings(minimum_tokens=1_000, labels={"gpu": "h200"})
EMBEDDINGS = FilterSettings(kinds=frozenset({"embedding"}), labels={"role": "embeddings"})
LOADED = FilterSettings(adapter=True)
EMBEDDINGS_ALL = FilterSettings(labels={"role": "embeddings"})
LISTED = FilterSettings(model=True)
BATCH = FilterSettings(batch=BatchSettings(header="x-batch-id", max_in_flight=4))

# Positions 0 and 1 have large cards, 1 and 2 do embeddings, 3 has no label.
LABELS: tuple[dict[str, str], ...] = (
    {"gpu": "h200"},
    {"gpu": "h200", "role": "embeddings"},
    {"role": "embeddings", "x": "y"},
    {},
)


def address(number: int) -> str:
    """Of an endpoint by its position."""
    return f"10.0.0.{number}:80"


def pool(
    *filters: FilterSettings, priorities: tuple[int, ...] = (0, 0, 0, 0), strategy: str = "random"
) -> PoolSettings:
    """The four endpoints."""
    endpoints = tuple(
        EndpointSettings(address=address(n), labels=labels, priority=priority, zone="ab"[n % 2])
        for n, (labels, priority) in enumerate(zip(LABELS, priorities, strict=True))
    )
    return PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=endpoints, filters=filters)


def divided(
    request: Request,
    *filters: FilterSettings,
    trial: int = -1,
    loaded: dict[int, str] | None = None,
    listed: dict[int, frozenset[str]] | None = None,
    busy: dict[int, int] | None = None,
) -> list[Group]:
    """The groups of a level of all four; `loaded` adapters, `listed` models and requests in flight by slot."""
    fleet = Fleet()
    fleet.want({address(n) for n in range(4)})
    numbers = np.array([fleet.slots.acquire(address(n)) for n in range(4)])
    for slot, name in (loaded or {}).items():
        fleet.adapters.scraped(slot, frozenset({name}))
    for slot, names in (listed or {}).items():
        fleet.models.told(slot, names, 1.0)
    for slot, count in (busy or {}).items():
        fleet.ledger.in_flight[slot] = count
    level = Group(0, numbers, np.full(4, 100.0), trial)
    return list(narrowed(iter([level]), filters_of(pool(*filters), fleet.slots), request, fleet))


def parts(groups: list[Group]) -> list[list[int]]:
    """Their slots."""
    return [group.slots.tolist() for group in groups]


@pytest.mark.parametrize(
    ("settings", "request_", "expected"),
    [
        (LONG, Request(tokens=999), False),
        (LONG, Request(tokens=1_000), True),
        (FilterSettings(maximum_tokens=10), Request(tokens=10), True),
        (FilterSettings(maximum_tokens=10), Request(tokens=11), False),
        (EMBEDDINGS, Request(kind="embedding"), True),
        (EMBEDDINGS, Request(kind="chat"), False),
        (FilterSettings(), Request(), True),
    ],
)
def test_what_a_filter_is_about(settings: FilterSettings, request_: Request, expected: bool) -> None:
    """Kinds and lengths."""
    assert is_about(settings, request_) == expected


def test_those_with_the_labels_come_first() -> None:
    """All of the labels; the others follow, for retries."""
    groups = divided(Request(tokens=5_000), LONG)
    assert parts(groups) == [[0, 1], [2, 3]]
    assert groups[0].note == "filters left 2 of 4"
    assert parts(divided(Request(tokens=5), LONG)) == [[0, 1, 2, 3]]


def test_zones() -> None:
    """By name, and with labels; a zone where nobody is is no filter."""
    assert parts(divided(Request(), FilterSettings(zone="b"))) == [[1, 3], [0, 2]]
    assert parts(divided(Request(), FilterSettings(zone="b", labels={"gpu": "h200"}))) == [[1], [0, 2, 3]]
    assert parts(divided(Request(), FilterSettings(zone="c"))) == [[0, 1, 2, 3]]


def test_filters_narrow_one_after_the_other() -> None:
    """What both are about goes to those that both are for; the first wins where nobody is."""
    request = Request(kind="embedding", tokens=5_000)
    assert parts(divided(request, LONG, EMBEDDINGS)) == [[1], [0, 2, 3]]
    other = FilterSettings(labels={"x": "y"})
    assert parts(divided(request, LONG, other)) == [[0, 1], [2, 3]]
    assert parts(divided(request, other, LONG)) == [[2], [0, 1, 3]]


def test_a_filter_for_nobody_is_passed_over() -> None:
    """An endpoint of the wrong class is better than none."""
    assert parts(divided(Request(), FilterSettings(labels={"gpu": "b200"}))) == [[0, 1, 2, 3]]


def test_loaded_adapters_come_first() -> None:
    """Those of the request's model, as far as engines say."""
    loaded = {1: "a", 2: "b", 3: "a"}
    assert parts(divided(Request(model="a"), LOADED, loaded=loaded)) == [[1, 3], [0, 2]]
    assert parts(divided(Request(model="c"), LOADED, loaded=loaded)) == [[0, 1, 2, 3]]
    both = FilterSettings(adapter=True, labels={"gpu": "h200"})
    assert parts(divided(Request(model="a"), both, loaded=loaded)) == [[1], [0, 2, 3]]


def test_listed_models_come_first() -> None:
    """Who lists others comes last; of whom nothing is known stays, and a model that nobody lists is no filter."""
    listed = {0: frozenset({"a", "lora"}), 1: frozenset({"b"}), 2: frozenset[str]()}
    assert parts(divided(Request(model="a"), LISTED, listed=listed)) == [[0, 3], [1, 2]]
    assert parts(divided(Request(model="lora"), LISTED, listed=listed)) == [[0, 3], [1, 2]]
    assert parts(divided(Request(model="a"), LISTED)) == [[0, 1, 2, 3]]
    others = dict.fromkeys(range(4), frozenset({"b"}))
    assert parts(divided(Request(model="a"), LISTED, listed=others)) == [[0, 1, 2, 3]]


def of_batch(name: str) -> Request:
    """A request of a batch."""
    return Request(headers={"x-batch-id": name})


def test_batches_go_together() -> None:
    """One endpoint for each, several for all; without the mark the filter is about nobody."""
    homes = {name: parts(divided(of_batch(name), BATCH))[0] for name in "abcdefghijkl"}
    assert all(len(home) == 1 for home in homes.values())
    assert len({home[0] for home in homes.values()}) == 4
    assert homes == {name: parts(divided(of_batch(name), BATCH))[0] for name in "abcdefghijkl"}
    assert parts(divided(Request(), BATCH)) == parts(divided(of_batch(""), BATCH)) == [[0, 1, 2, 3]]


def test_a_batch_drowns_nobody() -> None:
    """At the bound it goes on to its next endpoint, unless that many are an endpoint's share; full are all or none."""
    ((home,), _) = parts(divided(of_batch("a"), BATCH))
    assert parts(divided(of_batch("a"), BATCH, busy={home: 3}))[0] == [home]
    ((second,), _) = parts(divided(of_batch("a"), BATCH, busy={home: 4}))
    assert second != home
    assert parts(divided(of_batch("a"), BATCH, busy=dict.fromkeys(range(4), 100)))[0] == [home]
    everywhere = dict.fromkeys(range(4), 100) | {home: 140}
    assert parts(divided(of_batch("a"), BATCH, busy=everywhere))[0] == [second]


def test_a_batch_chooses_among_those_that_others_leave() -> None:
    """Filters narrow one after the other, whichever comes first."""
    both = [parts(divided(of_batch(name), EMBEDDINGS_ALL, BATCH))[0] for name in "abcdefgh"]
    assert {home for (home,) in both} == {1, 2}


def test_a_batch_chooses_last() -> None:
    """Wherever it stands among the filters: it leaves one endpoint, and the others would have nothing to say."""
    for name in "abcdefgh":
        request = of_batch(name)
        assert parts(divided(request, BATCH, EMBEDDINGS_ALL)) == parts(divided(request, EMBEDDINGS_ALL, BATCH))


def test_a_half_open_endpoint_is_tried_by_its_own_requests_only() -> None:
    """As the others it would be named for retries, where nobody is on trial."""
    assert parts(divided(Request(tokens=5_000), LONG, trial=3)) == [[0, 1], [2]]
    assert divided(Request(tokens=5_000), LONG, trial=1)[0].on_trial == 1


class Caller:
    """A picker over the four."""

    def __init__(self, made: PoolSettings) -> None:
        self.picker = Picker(PickerSettings(version="v", pools=(made,)))
        self.rng = random.Random(1)

    def named(self, **request: object) -> list[int]:
        """The positions that are named for a request."""
        about = Request(**request)  # type: ignore[arg-type]
        answer = self.picker.place(
            "p", Wanted(model="m", tokens=about.tokens, timeout_s=60.0, request=about), 1.0, self.rng
        )
        assert isinstance(answer, Named)
        return [int(each.split(".")[3].split(":")[0]) for each in answer.endpoints]


@pytest.mark.parametrize("strategy", ["kv-aware", "session", "random", "round-robin", "gpu-memory"])
def test_the_strategy_decides_among_those_that_are_left(strategy: str) -> None:
    """The third name is one of the others, and the record says what was left."""
    caller = Caller(pool(LONG, strategy=strategy))
    first = set()
    for _ in range(30):
        named = caller.named(tokens=2_000, session="s")
        assert set(named[:2]) == {0, 1}
        assert named[2] in {2, 3}
        first.add(named[0])
    assert first == {0, 1}
    assert caller.picker.decisions.latest(1)[0].reason.endswith("; filters left 2 of 4")


def test_levels_come_before_filters() -> None:
    """A label further away is left alone while somebody near may be named."""
    caller = Caller(pool(LONG, priorities=(1, 1, 0, 0)))
    assert {caller.named(tokens=2_000)[0] for _ in range(20)} == {2, 3}


def test_an_ejected_class_is_left() -> None:
    """Its requests go to the others, not to those that fail."""
    caller = Caller(pool(LONG))
    for number in (0, 1):
        failed = AttemptEnded(
            decision_id="d", address=address(number), at=1.0, status=503, flags=("UF",), failure="refused"
        )
        caller.picker.apply(failed)
    assert {caller.named(tokens=2_000)[0] for _ in range(20)} == {2, 3}


def test_adapters_come_from_scrapes() -> None:
    """Running and waiting ones; a scrape that does not tell changes nothing, and who leaves has none."""
    made = pool(LOADED)
    caller = Caller(made)

    def scrape(number: int, **loras: tuple[str, ...]) -> None:
        caller.picker.apply(Scraped(address=address(number), at=1.0, running=0, waiting=0, **loras))  # type: ignore[arg-type]

    scrape(2, running_loras=("a",), waiting_loras=())
    scrape(3, waiting_loras=("a", "b"))
    scrape(3)
    assert {caller.named(model="a")[0] for _ in range(30)} == {2, 3}
    assert {caller.named(model="b")[0] for _ in range(30)} == {3}
    assert len({caller.named(model="c")[0] for _ in range(60)}) == 4
    gone = tuple(each for each in made.endpoints if each.address != address(2))
    for endpoints in (gone, made.endpoints):
        caller.picker.apply_settings(
            PickerSettings(
                version="w", pools=(PoolSettings(name="p", cluster="p", endpoints=endpoints, filters=(LOADED,)),)
            )
        )
        caller.picker.expire(1_000.0)
    assert {caller.named(model="a")[0] for _ in range(30)} == {3}


def test_models_come_from_lists() -> None:
    """A later list replaces an earlier one; one of an unknown endpoint is nothing."""
    caller = Caller(pool(LISTED))

    def told(number: int, at: float, *names: str) -> None:
        caller.picker.apply(ModelsListed(address=address(number), at=at, models=frozenset(names)))

    for number in range(4):
        told(number, 1.0, "a" if number < 2 else "b")
    told(9, 1.0, "a")
    assert {caller.named(model="a")[0] for _ in range(30)} == {0, 1}
    told(0, 2.0, "b")
    told(1, 0.5, "b")
    assert {caller.named(model="a")[0] for _ in range(30)} == {1}


@given(names=st.lists(st.integers(0, 5), min_size=1, max_size=60), bound=st.integers(1, 8))
def test_the_bound_of_batches_holds(names: list[int], bound: int) -> None:
    """However batches come: no endpoint gets more than the bound, or than its share and a quarter more."""
    batch = FilterSettings(batch=BatchSettings(max_in_flight=bound))
    caller = Caller(pool(batch))
    counts = [0, 0, 0, 0]
    for name in names:
        if all(count >= bound for count in counts):
            break  # then the strategy decides
        first = caller.named(headers={"x-batch-id": str(name)})[0]
        counts[first] += 1
        assert counts[first] <= max(bound, 1.25 * sum(counts) / 4)


@given(
    labels=st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")), min_size=4, max_size=4),
    tokens=st.integers(1, 10),
    trial=st.integers(-1, 3),
)
def test_nobody_is_lost_or_named_twice(labels: list[dict[str, str]], tokens: int, trial: int) -> None:
    """The parts are the level, but for one on trial that a filter leaves out; the first part is never empty."""
    filters = [FilterSettings(labels=each, minimum_tokens=n * 2) for n, each in enumerate(labels)]
    groups = divided(Request(tokens=tokens), *filters, trial=trial)
    found = [slot for group in groups for slot in group.slots.tolist()]
    assert groups[0].slots.size
    assert len(found) == len(set(found))
    assert set(found) | {trial} >= {0, 1, 2, 3}
