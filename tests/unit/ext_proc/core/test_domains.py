"""What fails together: machines by IP address, zones by what endpoints say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.domains import Domains, domains
from ext_proc.core.settings import EndpointSettings
from ext_proc.core.slots import Slots


def made(*endpoints: tuple[str, str]) -> Domains:
    """Of endpoints by address and zone, with slots 0, 1, …."""
    return domains([EndpointSettings(address=address, zone=zone) for address, zone in endpoints], Slots())


def test_other_machines_come_first() -> None:
    """The best stays the best; then one of each machine, IPv6 included, then the rest in their order."""
    found = made(("10.0.0.1:80", ""), ("10.0.0.1:81", ""), ("[::1]:80", ""), ("[::1]:81", ""), ("[::2]:80", ""))
    assert found.apart([1, 0, 2, 3, 4], 3) == [1, 2, 4]
    assert found.apart([2, 3, 0, 1], 3) == [2, 0, 3]
    assert found.apart([1, 0], 3) == [1, 0]
    assert found.apart([], 3) == []


@pytest.mark.parametrize(
    "endpoints",
    [
        [("10.0.0.1:80", "a"), ("10.0.0.2:80", "a"), ("10.0.0.3:80", "")],
        [("127.0.0.1:80", ""), ("127.0.0.1:81", ""), ("127.0.0.1:82", "")],
    ],
    ids=["one machine each", "one machine"],
)
def test_nothing_to_tell_apart(endpoints: list[tuple[str, str]]) -> None:
    """The order stands."""
    found = made(*endpoints)
    assert found == Domains({}, {})
    assert found.apart([2, 0, 1], 2) == [2, 0]


def test_the_second_one_is_of_another_zone() -> None:
    """Where the others share one; only for certain, and before another machine in the same zone."""
    found = made(
        ("10.0.0.1:80", "a"), ("10.0.0.2:80", "a"), ("10.0.0.3:80", "a"), ("10.0.0.3:81", "b"), ("10.0.0.4:80", "")
    )
    assert found.apart([0, 1, 2, 4, 3], 3) == [0, 3, 1]
    assert found.apart([0, 3, 1, 2], 3) == [0, 3, 1]
    assert found.apart([0, 2, 1, 3], 3) == [0, 3, 2]
    assert found.apart([0, 1, 2, 4], 3) == [0, 1, 2]
    assert found.apart([4, 0, 1, 3], 3) == [4, 0, 1]
    assert found.apart([0, 4, 1, 3], 3) == [0, 3, 4], "of an unknown zone nobody knows that it is another one"


PLACES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "b"])), min_size=1, max_size=8)


@given(places=PLACES, count=st.integers(1, 3))
def test_whoever_is_there(places: list[tuple[int, str]], count: int) -> None:
    """The best comes first, nobody twice, as many as there can be; no machine twice while another one has somebody."""
    found = made(*((f"10.0.0.{machine}:{port}", zone) for port, (machine, zone) in enumerate(places)))
    named = found.apart(range(len(places)), count)
    assert named[0] == 0
    assert len(set(named)) == len(named) == min(count, len(places))
    machines = {places[slot][0] for slot in named}
    zones = [zone for _, zone in places]
    if "b" not in zones:
        assert len(machines) == min(count, len({machine for machine, _ in places}))
    if len(named) == 3 and [zones[slot] for slot in (named[0], named[2])] == ["a", "a"] and "b" in zones:
        assert zones[named[1]] == "b"
