"""Filters: which requests they are about, and who comes first for them."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.adapters import Adapters
from ext_proc.core.events import AttemptEnded, Scraped
from ext_proc.core.filters import filters_of, is_about, narrowed
from ext_proc.core.levels import Group
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.settings import EndpointSettings, FilterSettings, PickerSettings, PoolSettings
from ext_proc.core.slots import Slots
from ext_proc.core.strategies.view import Request

LONG = FilterSettings(minimum_tokens=1_000, labels={"gpu": "h200"})
EMBEDDINGS = FilterSettings(kinds=frozenset({"embedding"}), labels={"role": "embeddings"})
LOADED = FilterSettings(adapter=True)

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
        EndpointSettings(address=address(n), labels=labels, priority=priority)
        for n, (labels, priority) in enumerate(zip(LABELS, priorities, strict=True))
    )
    return PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=endpoints, filters=filters)


def divided(
    request: Request, *filters: FilterSettings, trial: int = -1, loaded: dict[int, str] | None = None
) -> list[Group]:
    """The groups of a level of all four."""
    slots, adapters = Slots(), Adapters()
    numbers = np.array([slots.acquire(address(n)) for n in range(4)])
    for slot, name in (loaded or {}).items():
        adapters.scraped(slot, frozenset({name}))
    level = Group(0, numbers, np.full(4, 100.0), trial)
    return list(narrowed(iter([level]), filters_of(pool(*filters), slots), request, adapters))


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
