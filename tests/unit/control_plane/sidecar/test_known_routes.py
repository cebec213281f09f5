"""To which pools requests may be led: what is new waits for Envoys, for a time."""

from control_plane.sidecar.handover import SYNC_TIMEOUT_S
from control_plane.sidecar.known_routes import KnownRoutes
from ext_proc.core.settings import DegradationSettings, PickerSettings, WaySettings


def settings(*clusters: str, by_rule: tuple[str, ...] = ()) -> PickerSettings:
    """One model with ways to these, and a rule with ways of its own."""
    ways = {cluster: WaySettings(cluster=cluster, pool=cluster, model="m") for cluster in (*clusters, *by_rule)}
    degradation = DegradationSettings(
        ways=tuple(ways[each] for each in clusters), route_ways={"rule/r": tuple(ways[each] for each in by_rule)}
    )
    return PickerSettings(version="v", degradations={"m": degradation})


def test_the_first_settings_hold_from_the_beginning() -> None:
    """There was nothing before them, and no Envoy to wait for."""
    routes = KnownRoutes(settings("a", by_rule=("b",)))
    assert routes.known == {"a", "b"}
    assert not routes.is_waiting


def test_what_is_new_waits_for_envoys() -> None:
    """What was there stays in use meanwhile; what is there no more is not known either when it comes again."""
    routes = KnownRoutes(settings("a", "b"))
    routes.want(settings("b", "c"), 10.0)
    assert routes.known == {"b"}
    assert not routes.advance(lambda: False, 10.0 + SYNC_TIMEOUT_S / 2)
    assert routes.advance(lambda: True, 10.0 + SYNC_TIMEOUT_S / 2)
    assert routes.known == {"b", "c"}
    assert not routes.is_waiting
    routes.want(settings("a", "b", "c"), 20.0)
    assert routes.known == {"b", "c"}


def test_who_does_not_answer_is_not_waited_for_long() -> None:
    """Each from when it was first wanted, however often there are other settings."""
    routes = KnownRoutes(settings())
    routes.want(settings("a"), 10.0)
    routes.want(settings("a", "b"), 12.0)
    assert routes.advance(lambda: False, 10.0 + SYNC_TIMEOUT_S)
    assert routes.known == {"a"}
    assert routes.advance(lambda: False, 12.0 + SYNC_TIMEOUT_S)
    assert routes.known == {"a", "b"}


def test_what_is_wanted_no_more_is_not_waited_for() -> None:
    """Nor does it come to be known."""
    routes = KnownRoutes(settings())
    routes.want(settings("a"), 10.0)
    routes.want(settings(), 11.0)
    assert not routes.is_waiting
    assert not routes.advance(lambda: True, 12.0)
    assert routes.known == frozenset()
