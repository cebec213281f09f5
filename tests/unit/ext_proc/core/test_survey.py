"""What is said of endpoints and pools, as events have left them."""

import pytest

from ext_proc.core.events import AttemptEnded, Picked
from ext_proc.core.picker import Picker
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings

A, B, AWAY, STRANGER = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.9.9.9:1"


@pytest.fixture
def picker() -> Picker:
    """Two pools: `p` of A and B, with one that is not available, and `q` of B."""
    away = EndpointSettings(address=AWAY, available=False, state="draining")
    pools = {"p": (EndpointSettings(address=A), EndpointSettings(address=B), away), "q": (EndpointSettings(address=B),)}
    return Picker(
        PickerSettings(
            version="v",
            pools=tuple(PoolSettings(name=name, cluster=f"pool/{name}", endpoints=pools[name]) for name in pools),
        )
    )


def refuse(picker: Picker, address: str) -> None:
    """A request finds nobody there."""
    picker.apply(AttemptEnded(decision_id="?", address=address, at=1.0, status=503, flags=("UF",), failure="refused"))


def test_who_is_sound(picker: Picker) -> None:
    """Known, and nothing is held against it."""
    before = picker.survey.is_anyone_out
    refuse(picker, A)
    assert (before, picker.survey.is_anyone_out) == (False, True)
    assert [picker.survey.is_sound(each, 1.0) for each in (A, B, STRANGER)] == [False, True, False]


def test_who_is_out(picker: Picker) -> None:
    """Of each pool who failed, and how many it could name: who is not available is no loss."""
    assert picker.survey.out(1.0) == [("p", [], 2), ("q", [], 1)]
    refuse(picker, B)
    assert picker.survey.out(1.0) == [("p", [B], 2), ("q", [B], 1)]
    assert picker.survey.health(1.0) == [("p", [(A, "healthy"), (B, "ejected")]), ("q", [(B, "ejected")])]


def test_what_runs(picker: Picker) -> None:
    """Own requests by endpoint; of one that is not known nothing runs, and nothing is known."""
    picker.apply(
        Picked(decision_id="d", at=1.0, address=B, uncached_tokens=9, prompt_tokens=9, max_age_s=60.0, pool="p")
    )
    assert picker.survey.in_flight((B, STRANGER, A)) == [1, 0, 0]
    assert picker.survey.load(B, 1.0) == (1, 0.0, None)
    assert picker.survey.load(STRANGER, 1.0) is None


def test_the_areas_of_a_pool(picker: Picker) -> None:
    """By name; a pool that is not known has none."""
    assert [(area.zone, area.total) for area in picker.survey.areas("q", 0.0)] == [("", 1)]
    assert picker.survey.areas("nobody", 0.0) == []


def test_other_settings(picker: Picker) -> None:
    """Pools that are gone are told of no more; an endpoint that is not available is shown with its state."""
    picker.apply_settings(PickerSettings(version="w", pools=picker.settings.pools[:1]), 2.0)
    status = picker.survey.pools(2.0)
    assert list(status) == ["p"]
    assert [each["health"] for each in status["p"]["endpoints"]] == ["healthy", "healthy", "draining"]
    assert picker.survey.areas("q", 2.0) == []
