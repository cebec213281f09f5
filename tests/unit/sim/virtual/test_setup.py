"""Arrangements that make sense, and those that do not."""

import pytest

from sim.profile import Profile
from sim.virtual.faults import fault
from sim.virtual.setup import Setup
from tests.unit.sim.virtual.fleets import Telling


@pytest.mark.parametrize(
    "wrong",
    [
        {"engines": 0},
        {"engines": 5_000},
        {"routers": 0},
        {"network_s": -0.1},
        {"scrape_delay_s": -0.1},
        {"scrape_jitter": 1.0},
        {"scrape_s": 0.0},
        {"report_s": -1.0},
        {"first_byte_s": -1.0},
        {"estimate": 0.0},
        {"zone_s": -0.1},
        {"kv_event_delay_s": -0.1},
        {"kv_events": True, "profile": Profile(engine="llamacpp")},
        {"exchange_s": -0.1},
        {"give_up_s": 0.0},
        {"abort_share": 1.5},
        {"faults": (fault("crash:9@1"),)},
    ],
    ids=str,
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    """Each number has its bounds, and faults are those of pods that exist."""
    with pytest.raises(ValueError, match=r"."):
        Setup(factory=Telling(), **wrong)  # type: ignore[arg-type]


def test_addresses_are_distinct_and_valid() -> None:
    """As many addresses as engines, each `ip:port`."""
    addresses = Setup(factory=Telling(), engines=600).addresses
    assert len(set(addresses)) == 600
    assert (addresses[0], addresses[299]) == ("10.0.0.1:8000", "10.0.1.44:8000")
