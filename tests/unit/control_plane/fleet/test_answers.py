"""What answers of the domain name system mean."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.answers import (
    MAX_RETRY_S,
    MAX_TTL_S,
    MIN_TTL_S,
    SPREAD,
    Failed,
    NoRecords,
    NothingFoundError,
    by_priority,
    endpoint_address,
    host_addresses,
    record_weights,
    refresh_in,
    retry_in,
)
from control_plane.fleet.records import Addresses, RecordType, Service

A, AAAA = RecordType.A, RecordType.AAAA


def test_the_shortest_time_counts() -> None:
    """An answer of two families holds as long as the shorter one."""
    found = host_addresses({A: Addresses(("10.0.0.1",), 30), AAAA: Addresses(("::1",), 5)}, {})
    assert (found.ttl_s, found.note) == (5, "")


@pytest.mark.parametrize(
    ("aaaa", "is_certain"), [(NoRecords("no such name"), True), (Failed("SERVFAIL"), False)], ids=["none", "failed"]
)
def test_nothing_found(aaaa: NoRecords | Failed, is_certain: bool) -> None:
    """No family answered with addresses: nothing was found, whatever was known before; only answers make it certain."""
    with pytest.raises(NothingFoundError) as caught:
        host_addresses({A: NoRecords("no such name"), AAAA: aaaa}, {A: ("10.0.0.1",), AAAA: ("::1",)})
    assert caught.value.is_certain is is_certain
    assert ("SERVFAIL" in str(caught.value)) is not is_certain


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0"])
def test_addresses_of_nobody(address: str) -> None:
    """What blocking name servers answer, and what is not one host, is no endpoint."""
    assert endpoint_address(address, 80) is None


def test_addresses_are_in_envoys_text() -> None:
    """The picker names endpoints by exactly this text."""
    assert endpoint_address("10.0.0.1", 80) == "10.0.0.1:80"
    assert endpoint_address("FD00:0::1", 80) == "[fd00::1]:80"


def test_priorities_and_weights() -> None:
    """Lower numbers first, `.` and repeats left out."""
    one, two, three = Service(1, 0, 80, "a."), Service(1, 5, 80, "b."), Service(0, 0, 80, "c.")
    groups = by_priority([two, one, three, one, Service(0, 0, 0, ".")])
    assert groups == [[three], [one, two]]
    assert [record_weights(group) for group in groups] == [[None], [1, 5]]


@given(st.floats(min_value=0, max_value=1e9), st.integers(1, 10_000), st.integers(0, 1_000))
def test_waits_are_bounded(ttl_s: float, failures: int, seed: int) -> None:
    """Whatever a name server says and however often it fails."""
    rng = random.Random(seed)
    assert MIN_TTL_S <= refresh_in(ttl_s, rng) <= MAX_TTL_S * (1 + SPREAD)
    assert 0 < retry_in(failures, rng) <= MAX_RETRY_S * (1 + SPREAD)


def test_waits_are_spread() -> None:
    """Two that start together do not stay together."""
    assert len({refresh_in(30, random.Random(seed)) for seed in range(20)}) == 20
