"""Any order of snapshots, deliveries and reconnects: what must hold always, and what must hold at rest."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.xds.kinds import ASKED_BY_ALL, CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.status import SyncState
from control_plane.xds.transition import REMOVAL_GRACE_S, REMOVAL_WAIT_S
from tests.unit.control_plane.xds.dialogue import fleet
from tests.unit.control_plane.xds.envoy_model import BAD, EnvoyModel, routes_without_cluster

NAMES = ("a", "b", "c")
Step = str | Snapshot


@st.composite
def snapshots(draw: st.DrawFn, versions: tuple[str, ...] = ("1", "2")) -> Snapshot:
    """Some clusters with endpoints, and listeners whose routes point at one of these clusters."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    version = st.sampled_from(versions)
    listeners = {name: draw(version) for name in draw(st.sets(st.sampled_from(("web", "api")), min_size=1))}
    target = st.sampled_from([f"to {name}" for name in names] + ([BAD] if BAD in versions else []))
    return fleet(
        clusters={name: draw(version) for name in names},
        endpoints={name: draw(version) for name in names},
        listeners=listeners,
        routes={name: draw(target) for name in listeners},
    )


def steps(*extra: str, versions: tuple[str, ...] = ("1", "2")) -> st.SearchStrategy[list[Step]]:
    """Snapshots and deliveries in any order; deliveries are more frequent, and now and then all is delivered."""
    delivery = st.sampled_from(("to server", "to client", "to server", "to client", "all", *extra))
    return st.lists(st.one_of(snapshots(versions), delivery, delivery), max_size=40)


def play(model: EnvoyModel, script: list[Step], check: Callable[[], None] = lambda: None) -> Snapshot | None:
    """Plays a script, checking after every step; returns the last snapshot."""
    last, is_away = None, False
    for step in script:
        if isinstance(step, Snapshot):
            last = step
            if is_away:
                model.past.remember(step)
            else:
                model.publish(step)
        elif step == "away":
            deliver_all(model, check)
            is_away = True
        elif step == "back" and is_away:
            is_away = False
            model.connect()
            if last is not None:
                model.publish(last)
        elif step == "to server" and model.requests:
            model.to_server()
        elif step == "to client" and model.responses:
            model.to_client()
        elif step == "all":
            deliver_all(model, check)
        elif step == "a second":
            deliver_all(model, check)
            model.tick(1.0)
        elif step == "reconnect":
            model.connect()
            if last is not None:
                model.publish(last)
        check()
    if is_away and last is not None:
        model.connect()
        model.publish(last)
    return last


def deliver_all(model: EnvoyModel, check: Callable[[], None]) -> None:
    """Empties both wires, checking after every step."""
    while model.requests or model.responses:
        if model.responses:
            model.to_client()
        else:
            model.to_server()
        check()


def versions_of(snapshot: Snapshot, type_url: str) -> dict[str, str]:
    """What a client at rest holds of a type."""
    return {name: resource.version for name, resource in snapshot.resources(type_url).items()}


def come_to_rest(model: EnvoyModel) -> None:
    """All wires empty and all waits over."""
    model.settle()
    model.tick(REMOVAL_WAIT_S)
    model.settle()
    model.tick(REMOVAL_WAIT_S)
    model.settle()


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps())
@settings(deadline=None, max_examples=80)
def test_no_route_ever_points_at_a_cluster_that_is_not_in_use(delta: bool, script: list[Step]) -> None:
    """Make before break, in whatever order messages cross: at no moment would a request get a 503."""
    model = EnvoyModel(delta=delta)

    def check() -> None:
        assert not list(routes_without_cluster(model))

    play(model, script, check)
    deliver_all(model, check)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps("all", "all", "away", "away", "back", "back"))
@settings(deadline=None, max_examples=80)
def test_a_client_that_was_away_loses_no_cluster_that_it_routes_to(delta: bool, script: list[Step]) -> None:
    """It comes back with what it held, to a policy that has moved on meanwhile; at no moment would a request get a 503.

    It leaves at rest: a stream that breaks in the middle of a change is the next test but one."""
    model = EnvoyModel(delta=delta)

    def check() -> None:
        assert not list(routes_without_cluster(model))

    play(model, script, check)
    deliver_all(model, check)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps("a second", "a second", "a second"))
@settings(deadline=None, max_examples=80)
def test_requests_under_old_routes_have_time_to_finish(delta: bool, script: list[Step]) -> None:
    """Whatever a route has led to within the grace is in use: a request that waits for its body still finds it."""
    model = EnvoyModel(delta=delta)
    led_to: dict[str, float] = {}

    def check() -> None:
        led_to.update(dict.fromkeys(model.targets(), model.now))
        assert {name for name, at in led_to.items() if model.now - at < REMOVAL_GRACE_S} <= model.in_use

    play(model, script, check)
    come_to_rest(model)
    assert model.in_use == set(model.held[CLUSTERS])


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps("reconnect"))
@settings(deadline=None, max_examples=80)
def test_at_rest_the_client_holds_exactly_the_last_snapshot(delta: bool, script: list[Step]) -> None:
    """Nothing missing, nothing left over, nothing warming, nothing outstanding; and then silence."""
    model = EnvoyModel(delta=delta)
    last = play(model, script)
    come_to_rest(model)
    if "reconnect" in script:
        # A stream that breaks between a cluster and its endpoints leaves the cluster warming: in delta the new stream
        # shows both as held. Envoy ends that by itself.
        model.give_up_warming()
        come_to_rest(model)
    if last is None:
        assert model.pushes == 0
        return
    assert not model.warming
    assert not model.unanswered
    for type_url in ASKED_BY_ALL:
        assert model.held[type_url] == versions_of(last, type_url)
    pushes = model.pushes
    model.publish(last)
    model.tick(60.0)
    assert model.pushes == pushes


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps(), last=snapshots())
@settings(deadline=None, max_examples=80)
def test_a_restarted_server_sends_nothing_that_has_not_changed(delta: bool, script: list[Step], last: Snapshot) -> None:
    """A new session with the same snapshot, whatever happened before: Envoy is left alone."""
    model = EnvoyModel(delta=delta)
    play(model, [*script, last])
    come_to_rest(model)
    model.connect()
    model.publish(last)
    pushes = model.pushes
    model.settle()
    model.tick(60.0)
    assert model.pushes == pushes
    assert {status.state for status in model.session.status().values()} == {SyncState.SYNCED}
    assert [status.acked for status in model.session.status().values()] == [last.versions[t] for t in ASKED_BY_ALL]


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(script=steps("reconnect", versions=("1", "2", BAD)))
@settings(deadline=None, max_examples=80)
def test_rejections_end_and_spoil_nothing_else(delta: bool, script: list[Step]) -> None:
    """Whatever is bad, the conversation ends, and the good clusters and listeners of the last snapshot are in use."""
    model = EnvoyModel(delta=delta)
    last = play(model, script)
    for _ in range(3):
        come_to_rest(model)
        model.give_up_warming()
    come_to_rest(model)
    if last is None:
        return
    for type_url in (CLUSTERS, LISTENERS):
        wanted = {name: version for name, version in versions_of(last, type_url).items() if version != BAD}
        held = {name: version for name, version in model.held[type_url].items() if name in wanted}
        assert held == wanted
    pushes = model.pushes
    model.publish(last)
    model.tick(60.0)
    assert model.pushes == pushes


@given(script=steps("reconnect", versions=("1", "2", BAD)))
@settings(deadline=None, max_examples=80)
def test_in_delta_every_good_resource_arrives(script: list[Step]) -> None:
    """Bad endpoints and routes are named and left out, so those that came with them are applied."""
    model = EnvoyModel(delta=True)
    last = play(model, script)
    for _ in range(3):
        come_to_rest(model)
        model.give_up_warming()
    come_to_rest(model)
    if last is None:
        return
    for type_url, parent in ((ENDPOINTS, CLUSTERS), (ROUTES, LISTENERS)):
        for name, version in versions_of(last, type_url).items():
            if version != BAD and name in model.held[parent]:
                assert model.held[type_url].get(name) == version
