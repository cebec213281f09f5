"""What Envoys are told of the picker's findings: late, back later, never too much of a pool."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.mirror import Mirror, MirrorRule
from control_plane.fleet.model import Endpoint, Fleet, Health

RULE = MirrorRule(after_s=2.0, clear_after_s=5.0, max_share=0.5)
NAMES = tuple(f"10.0.0.{n}:80" for n in range(1, 5))
OUT, WORSE, FINE = Health.UNHEALTHY, Health.DEGRADED, Health.HEALTHY


def seen(*states: Health) -> dict[str, tuple[MirrorRule, dict[str, Health]]]:
    """How the endpoints of the pool `p` are for the picker; those that are not said are fine."""
    return {"p": (RULE, {name: states[n] if n < len(states) else FINE for n, name in enumerate(NAMES)})}


def shown(mirror: Mirror) -> list[Health]:
    """How they are shown."""
    fleet = Fleet(pools={"p": tuple(Endpoint(pool="p", address=name) for name in NAMES)})
    return [each.inferred for each in mirror.shown(fleet).pools["p"]]


def test_hysteresis() -> None:
    """Worse after two seconds without a break, better after five; in between nothing is told."""
    assert Mirror().is_idle
    mirror = Mirror()
    assert mirror.look(0.0, seen(OUT)) == frozenset()
    assert not mirror.is_idle
    assert mirror.look(1.9, seen(OUT)) == frozenset()
    assert mirror.look(2.0, seen(OUT)) == {"p"}
    assert shown(mirror) == [OUT, FINE, FINE, FINE]
    assert mirror.rows == [{"pool": "p", "address": NAMES[0], "state": "unhealthy"}]
    assert mirror.look(3.0, seen()) == frozenset()
    assert mirror.look(7.9, seen()) == frozenset()
    assert mirror.look(8.0, seen()) == {"p"}
    assert (shown(mirror), mirror.rows, mirror.is_idle) == ([FINE] * 4, [], True)


def test_one_that_flaps() -> None:
    """A break in between begins the count anew, in both directions."""
    mirror = Mirror()
    for n in range(20):
        assert mirror.look(float(n), seen(OUT if n % 2 else FINE)) == frozenset()
    mirror.look(20.0, seen(OUT))
    mirror.look(22.0, seen(OUT))
    for n in range(23, 60):
        assert mirror.look(float(n), seen(OUT if n % 3 else FINE)) == frozenset()
    assert shown(mirror)[0] is OUT


def test_between_bad_and_worse() -> None:
    """Who changes between the two is at least degraded all the time."""
    mirror = Mirror()
    for n in range(6):
        mirror.look(float(n), seen(OUT if n % 2 else WORSE))
    assert shown(mirror) == [WORSE, FINE, FINE, FINE]


def test_the_largest_share() -> None:
    """Who was out first is unhealthy, who came later only degraded, until there is room."""
    mirror = Mirror()
    mirror.look(0.0, seen(FINE, FINE, OUT))
    mirror.look(1.0, seen(OUT, FINE, OUT))
    mirror.look(2.0, seen(OUT, OUT, OUT))
    mirror.look(5.0, seen(OUT, OUT, OUT))
    assert shown(mirror) == [OUT, WORSE, OUT, FINE]
    mirror.look(6.0, seen(OUT, OUT))
    assert mirror.look(11.0, seen(OUT, OUT)) == {"p"}
    assert shown(mirror) == [OUT, OUT, FINE, FINE]


def test_panic() -> None:
    """A pool that is out as a whole is shown as it is used: all of it; once one is sound the rest is out again."""
    mirror = Mirror()
    for now in (0.0, 2.0):
        mirror.look(now, seen(OUT, OUT, OUT, FINE))
    assert mirror.look(2.5, seen(OUT, OUT, OUT, OUT)) == {"p"}
    assert shown(mirror) == [FINE] * 4
    assert mirror.look(3.0, seen(FINE, OUT, OUT, OUT)) == {"p"}
    assert shown(mirror) == [OUT, OUT, WORSE, FINE]


def test_who_leaves_is_forgotten() -> None:
    """The next pod of that address is another one; a pool that is mirrored no more is sound at once."""
    mirror = Mirror()
    for now in (0.0, 2.0):
        mirror.look(now, seen(OUT))
    others = {"p": (RULE, dict.fromkeys(NAMES[1:], FINE))}
    assert mirror.look(2.5, others) == {"p"}
    assert mirror.look(3.0, seen(OUT)) == frozenset()
    assert mirror.look(5.0, seen(OUT)) == {"p"}
    assert mirror.look(5.5, {}) == {"p"}
    assert mirror.rows == []


def test_an_empty_pool() -> None:
    """Has nothing to show."""
    assert Mirror().look(0.0, {"p": (RULE, {})}) == frozenset()


@pytest.mark.parametrize(
    ("count", "others", "most"),
    [(8, 0.0, 4), (2, 0.0, 1), (1, 0.0, 0), (4, 0.5, 1), (3, 0.5, 0), (8, 0.5, 3), (9, 1.0, 0)],
)
def test_room_for_envoys_own_ejections(count: int, others: float, most: int) -> None:
    """One endpoint is left at least, whatever Envoy ejects besides."""
    assert MirrorRule(others_share=others).most(count) == most


@given(
    st.lists(st.lists(st.sampled_from([FINE, WORSE, OUT]), min_size=4, max_size=4), max_size=60),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_whatever_comes(looks: list[list[Health]], others: float) -> None:
    """Nobody is shown worse who never was worse for two seconds, nor sound, but in panic, who was worse for so long;
    more than the share is never out; changes are told exactly when there are any."""
    rule = MirrorRule(others_share=others)
    mirror = Mirror()
    before = [FINE] * 4
    for n, states in enumerate(looks):
        changed = mirror.look(float(n), {"p": (rule, dict(zip(NAMES, states, strict=True)))})
        now = shown(mirror)
        assert bool(changed) == (now != before)
        assert now.count(OUT) <= min(2, max(0, 3 - math.ceil(4 * others)))
        is_panic = all(state is OUT for state in states)
        for place, state in enumerate(now):
            if state is not FINE:
                assert any(all(each[place] is not FINE for each in looks[k - 2 : k + 1]) for k in range(2, n + 1))
            if state is FINE and not is_panic and n >= 2:
                assert FINE in [each[place] for each in looks[n - 2 : n + 1]]
        before = now
