"""`session`."""

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_proc.core.strategies.session import Parameters, Session, key_of, places_of
from ext_proc.core.strategies.view import Request
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def owner(pool: Pool, key: str, parameters: Parameters | None = None, among: list[int] | None = None) -> int:
    """The position that a session's request goes to."""
    view = replace(pool.view(among=among), request=Request(session=key))
    return pool.order(Session(parameters), view)[0]


def test_a_session_stays() -> None:
    """Whoever asks, whenever, and in whatever order the endpoints stand."""
    pool, other = Pool(20), Pool(20)
    for n in range(50):
        assert owner(pool, f"s{n}") == owner(other, f"s{n}") == owner(pool, f"s{n}", among=list(range(20))[::-1])


def test_sessions_spread_by_weight() -> None:
    """Each endpoint has its share of the sessions."""
    pool = Pool(4, weights=[100, 100, 100, 300])
    had = Counter(owner(pool, f"s{n}") for n in range(3_000))
    assert [had[n] / 3_000 for n in range(4)] == [
        pytest.approx(share, abs=0.03) for share in (1 / 6, 1 / 6, 1 / 6, 0.5)
    ]


@given(gone=st.integers(0, 9), key=st.text(min_size=1))
def test_only_the_sessions_of_an_endpoint_that_leaves_move(gone: int, key: str) -> None:
    """The others stay, and return when it is back."""
    pool = Pool(10)
    before = owner(pool, key)
    left = owner(pool, key, among=[n for n in range(10) if n != gone])
    assert (left == before) == (before != gone)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 3, 50, 100])), min_size=2, max_size=10),
    st.text(min_size=1),
    st.sampled_from(["1.0", "1.1", "1.25", "2.0"]),
)
@example([(6, 100), (7, 100)], "0", "1.0")  # 14 ÷ 200 × 100 is above 7 in floating point
@example([(44, 100), (55, 100)], "0", "1.1")  # and so is 1.1 × 100 above 110
def test_nobody_takes_more_than_its_bound(pods: list[tuple[int, int]], key: str, factor: str) -> None:
    """With this request it has at most the factor times its share, rounded up; fractions are exact."""
    pool = Pool(len(pods), weights=[weight for _, weight in pods])
    for position, (load, _) in enumerate(pods):
        pool.send(position, times=load)
    load, weight = pods[owner(pool, key, Parameters(load_factor=float(factor)))]
    loads, weights = map(sum, zip(*pods, strict=True))
    assert load + 1 <= math.ceil(Fraction(factor) * (loads + 1) * weight / weights)


def test_a_full_owner_lends_its_sessions_to_the_next() -> None:
    """All to the places that they have when it is gone, and back when it has room."""
    pool = Pool(5)
    keys = [f"s{n}" for n in range(200)]
    own = [key for key in keys if owner(pool, key) == 2]
    without = {key: owner(pool, key, among=[0, 1, 3, 4]) for key in own}
    pool.send(2, times=3)
    assert own
    assert {key: owner(pool, key) for key in own} == without
    assert len(set(without.values())) > 1, "they spread over the others"
    view = replace(pool.view(), request=Request(session=own[0]))
    assert "has too much to do" in ranked(Session(), view).reason


@given(key=st.text(min_size=1), home=st.integers(0, 4))
def test_a_session_stays_at_home(key: str, home: int) -> None:
    """Wherever its place would be; the others follow in the order of their places, for retries."""
    pool = Pool(5)
    view = replace(pool.view(), request=Request(session=key))
    places = pool.order(Session(), view)
    at_home = pool.order(Session(), replace(view, home=int(pool.slots[home])))
    assert at_home == [home, *(place for place in places if place != home)]
    elsewhere = replace(pool.view(among=[0, 1, 2, 3]), request=Request(session=key), home=int(pool.slots[4]))
    assert pool.order(Session(), elsewhere) == [place for place in places if place != 4]


def test_a_home_that_has_too_much_to_do() -> None:
    """Lends the request to the session's first place that has not."""
    pool = Pool(4)
    place = owner(pool, "s")
    home = (place + 1) % 4
    view = replace(pool.view(), request=Request(session="s"), home=int(pool.slots[home]))
    assert ranked(Session(), view).reason.endswith("is where the session is")
    pool.send(home, times=3)
    assert pool.order(Session(), view)[0] == place
    assert ranked(Session(), view).reason.endswith("is next, since its own has too much to do")


def test_who_is_half_open_is_tried() -> None:
    """By the sessions that have their first place there, before home; by no others."""
    pool = Pool(4)
    place = owner(pool, "s")
    others = [n for n in range(4) if n != place]
    for on_trial, first, word in (
        (place, place, "half open, and tried by this one request"),
        (others[1], others[0], "where the session is"),
    ):
        view = replace(
            pool.view(),
            request=Request(session="s"),
            home=int(pool.slots[others[0]]),
            on_trial=int(pool.slots[on_trial]),
        )
        order = pool.order(Session(), view)
        assert order[0] == first
        assert ranked(Session(), view).reason.endswith(word)
        assert on_trial != place or order[1] == others[0]


def test_load_of_others_counts() -> None:
    """An engine that somebody else has filled is passed over, too."""
    pool = Pool(3)
    mine = owner(pool, "s")
    pool.scrape(mine, running=50, waiting=10)
    assert owner(pool, "s") != mine


def test_without_a_session_the_least_load_decides() -> None:
    """And it is said."""
    pool = Pool(3)
    pool.send(0)
    pool.send(2)
    assert pool.chosen(Session(), pool.view()) == {1}
    assert ranked(Session(), pool.view()).reason.startswith("no session; least load")


ASKED = Request(session="s", user="u", headers={"x-team": "t", "cookie": "a=1; sid=c; b=2"})


@pytest.mark.parametrize(
    ("parameters", "request_", "key"),
    [
        (Parameters(), ASKED, "s"),
        (Parameters(), Request(user="u"), "u"),
        (Parameters(), Request(), ""),
        (Parameters(header="x-team"), ASKED, "t"),
        (Parameters(header="x-other"), ASKED, ""),
        (Parameters(cookie="sid"), ASKED, "c"),
        (Parameters(cookie="si"), ASKED, ""),
        (Parameters(cookie="sid"), Request(headers={"cookie": "sid"}), ""),
        (Parameters(cookie="sid"), Request(headers={"cookie": "x=sid=1;sid=2=3"}), "2=3"),
        (Parameters(use_user=True), ASKED, "u"),
        (Parameters(use_user=True), Request(session="s"), ""),
    ],
)
def test_keys(parameters: Parameters, request_: Request, key: str) -> None:
    """What the policy says, and nothing in its place."""
    assert key_of(request_, parameters) == key


@given(st.text(), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_places_are_positive_and_finite(key: str, hashes: list[int]) -> None:
    """Whatever the hashes are."""
    places = places_of(np.array(hashes, dtype=np.uint64), key, np.full(len(hashes), 1.0))
    assert np.isfinite(places).all()
    assert (places > 0).all()
