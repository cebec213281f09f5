"""The picker leads requests elsewhere when their pool cannot serve them, labels them, and takes them back."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.decision import Answer, Canned, Level, Named, Rejected, Waiting
from ext_proc.core.elsewhere import ROUTES_S, UPLOAD_S
from ext_proc.core.events import AttemptEnded, Probed, RequestEnded, StreamEnded, Tried
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import (
    AdmissionSettings,
    CannedSettings,
    DegradationSettings,
    EndpointSettings,
    HealthSettings,
    PickerSettings,
    PoolSettings,
    PrioritySettings,
    ProbeSettings,
    TrialSettings,
    WaySettings,
)
from ext_proc.core.speed import ENOUGH
from ext_proc.core.waiting_room import Released

STANDBY = WaySettings(cluster="pool/standby", pool="standby", model="big", is_same=True)
SMALL = WaySettings(cluster="pool/small", pool="small", model="small")
WAYS = DegradationSettings(ways=(STANDBY, SMALL))


def pool(name: str, number: int, count: int = 2, **more: Any) -> PoolSettings:
    """So many endpoints, asked whether they are ready."""
    endpoints = tuple(EndpointSettings(address=f"10.0.{number}.{n + 1}:8000") for n in range(count))
    health = HealthSettings(probe=ProbeSettings(), heartbeat_s=None, stuck_s=None)
    given = {"endpoints": endpoints, "health": health, "strategy": "round-robin", **more}
    return PoolSettings(name=name, cluster=f"pool/{name}", **given)


def settings(
    degradation: DegradationSettings = WAYS, pools: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> PickerSettings:
    """Three pools, with what is said of them, and the model `big` with its ways."""
    names = ("big", "standby", "small")
    return PickerSettings(
        version="v",
        pools=tuple(pool(name, number, **pools.get(name, {})) for number, name in enumerate(names)),
        models={"big": "big", "gpt-4": "big", "small": "small"},
        engine_models={"small": "tiny"},
        degradations={"big": degradation},
    )


def facts(model: str = "big", cluster: str = "pool/big", route: str = "model/big", **body: Any) -> RequestFacts:
    """A chat."""
    said = {"model": model, "messages": [{"role": "user", "content": "hello"}], **body}
    return RequestFacts(body=json.dumps(said).encode(), path="/v1/chat/completions", cluster=cluster, route=route)


class World:
    """A picker, and what becomes of its picks. Mutable: the clock, the picks."""

    def __init__(self, made: PickerSettings) -> None:
        self.picker = Picker(made)
        self.rng = random.Random(1)
        self.now = 100.0
        self.running: list[Named] = []

    def ask(self, request: RequestFacts | None = None) -> Answer | Waiting:
        """One question."""
        answer = self.picker.ask(request or facts(), self.now, self.rng)
        if isinstance(answer, Named):
            self.running.append(answer)
        return answer

    def named(self, request: RequestFacts | None = None) -> Named:
        """One that is answered with a name."""
        answer = self.ask(request)
        assert isinstance(answer, Named), answer
        return answer

    def level(self, request: RequestFacts | None = None) -> Level | None:
        """How the next one is answered."""
        answer = self.ask(request)
        assert isinstance(answer, Named | Rejected | Canned), answer
        return None if answer.degraded is None else answer.degraded.level

    def refused(self, named: Named) -> None:
        """Nobody listens where that was sent: at none of the addresses."""
        for address in named.endpoints:
            self.picker.apply(
                AttemptEnded(
                    decision_id=named.decision_id,
                    at=self.now,
                    address=address,
                    status=503,
                    flags=("UF",),
                    failure="delayed_connect_error:_Connection_refused",
                )
            )
        self.picker.apply(StreamEnded(decision_id=named.decision_id, at=self.now, closed_by_us=False))

    def kill(self) -> None:
        """The pool to which the next request goes is gone."""
        self.refused(self.named())

    def ready(self, number: int) -> None:
        """All of a pool answer that they are ready, twice."""
        for _ in range(2):
            self.passes(0.5)
            for each in self.picker.settings.pools[number].endpoints:
                self.picker.apply(Probed(address=each.address, at=self.now))

    def passes(self, seconds: float) -> None:
        """Time, of which the picker hears each second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.picker.expire(self.now)

    def end(self, named: Named, ttft_ms: float = 10.0) -> None:
        """A good answer."""
        event = RequestEnded(
            decision_id=named.decision_id,
            at=self.now,
            served=named.endpoints[0],
            status=200,
            attempts=1,
            ttft_ms=ttft_ms,
            duration_ms=2 * ttft_ms,
        )
        self.picker.apply(event)
        self.running.remove(named)


def led(released: Released, label: str) -> Named:
    """The answer, which has to name somebody and to bear this label."""
    assert isinstance(released.answer, Named)
    assert released.answer.degraded is not None
    assert released.answer.degraded.label == label
    return released.answer


def test_prompts_that_break_any_engine_lead_nobody_away() -> None:
    """Three of them in a row have the only endpoint of a pool ejected; it answers our own token, so that those who come
    next stay with their model, and the first good answer ends it. One that fails our token, too, loses them."""
    health = HealthSettings(trial=TrialSettings())

    def after_three(status: int) -> World:
        world = World(settings(pools={"big": {"count": 1, "health": health}}))
        for _ in range(3):
            named = world.named()
            world.picker.apply(
                AttemptEnded(decision_id=named.decision_id, at=world.now, address=named.endpoints[0], status=500)
            )
            for address in world.picker.due_trials(world.now, 1):
                world.picker.apply(Tried(address=address, at=world.now, started_at=world.now, status=status))
            world.passes(0.1)
        return world

    world = after_three(200)
    assert world.picker.survey.health(world.now)[0] == ("big", [("10.0.0.1:8000", "ejected")])
    named = world.named()
    assert named.degraded is None
    world.end(named)
    assert world.picker.survey.health(world.now)[0] == ("big", [("10.0.0.1:8000", "healthy")])
    assert after_three(500).level() is not None


def test_the_way_there_and_back() -> None:
    """From pool to pool to another model as they go, and back to the first after it has been well for long enough."""
    world = World(settings())
    assert world.level() is None
    world.kill()
    named = world.named()
    assert named.degraded is not None
    assert named.degraded.label == "pool/standby"
    assert named.endpoints[0].startswith("10.0.1.")
    assert named.body is None
    world.kill()
    named = world.named(facts("gpt-4"))
    assert named.degraded is not None
    assert named.degraded.label == "small"
    assert named.degraded.pool == "small"
    assert named.endpoints[0].startswith("10.0.2.")
    assert named.body is not None
    assert json.loads(named.body)["model"] == "tiny"
    record = world.picker.decisions.latest(1)[0]
    assert (record.pool, record.model, record.request.engine_model) == ("small", "big", "tiny")
    assert record.as_dict()["degraded"] == {
        "level": "model", "to": "small", "why": "nobody there may be named", "features": []
    }  # fmt: skip
    assert "small instead: nobody there may be named" in record.reason
    assert [each["model"] for each in world.picker.survey.degraded()] == ["big"]

    world.ready(0)
    assert world.level() is Level.MODEL
    world.passes(9.0)
    assert world.level() is Level.MODEL
    world.passes(2.0)
    named = world.named()
    assert named.degraded is None
    assert named.endpoints[0].startswith("10.0.0.")
    world.passes(11.0)
    assert world.picker.survey.degraded() == []


def test_a_pool_without_endpoints() -> None:
    """Is as one where nobody is left; nobody is refused while somebody is elsewhere."""
    world = World(settings(pools={"big": {"endpoints": ()}}))
    assert world.level() is Level.POOL


def test_what_probes_alone_find_of_all() -> None:
    """Is rather about the probes: while requests are answered nobody is led away."""
    world = World(settings())
    for _ in range(5):
        world.passes(1.0)
        for each in world.picker.settings.pools[0].endpoints:
            world.picker.apply(Probed(address=each.address, at=world.now, fault="503"))
    assert world.level() is None


def test_a_trial() -> None:
    """Where nobody looks after pods that are out a single request does, once the back-off is over; a good answer begins
    the time to recover, a bad one the next back-off."""
    nobody_looks = {name: {"health": None} for name in ("big", "standby", "small")}
    world = World(settings(pools=nobody_looks))
    world.kill()
    assert world.level() is Level.POOL
    world.passes(1.5)
    trial, others = world.named(), [world.level() for _ in range(5)]
    assert trial.degraded is None
    assert trial.endpoints[0].startswith("10.0.0.")
    assert others == [None, *[Level.POOL] * 4], "one for each of the two endpoints"
    world.refused(trial)
    assert world.level() is Level.POOL
    world.passes(3.0)
    trial = world.named()
    assert trial.degraded is None
    world.end(trial)
    assert world.level() is Level.POOL
    world.passes(10.5)
    assert world.level() is None


def test_nobody_anywhere() -> None:
    """Without an answer of the policy's own somebody is tried all the same: what is known is inferred."""
    world = World(settings())
    for _ in range(3):
        world.kill()
    named = world.named()
    assert named.degraded is None
    assert named.endpoints[0].startswith("10.0.0.")


def test_an_answer_of_the_policys_own() -> None:
    """Where there is one, nobody is tried; what has no such answer is refused, and says so."""
    world = World(settings(replace(WAYS, answer=CannedSettings(text="Later."))))
    for _ in range(3):
        world.kill()
    answer = world.ask()
    assert isinstance(answer, Canned)
    assert b"Later." in answer.body
    assert answer.degraded.why == "no_endpoint"
    embedding = replace(facts(), path="/v1/embeddings", body=b'{"model": "big", "input": "a"}')
    refused = world.ask(embedding)
    assert isinstance(refused, Rejected)
    assert refused.status == 503
    assert refused.retry_after_s == 1
    assert refused.degraded is not None
    assert refused.degraded.label == "refused"


def test_features() -> None:
    """A way that offers less takes it from the request, and says so; one that is not for tools is passed by."""
    less = replace(SMALL, tools="off", max_tokens=50)
    world = World(settings(DegradationSettings(ways=(less,))))
    world.kill()
    named = world.named(facts(tools=[{"type": "function"}], max_tokens=100, temperature=0.5))
    assert named.body is not None
    assert named.degraded is not None
    said = json.loads(named.body)
    assert "tools" not in said
    assert (said["max_tokens"], said["temperature"], said["model"]) == (50, 0.5, "tiny")
    assert named.degraded.features == ("tools", "max_tokens")
    named = world.named(facts(max_tokens=10))
    assert named.degraded is not None
    assert named.degraded.features == ()

    world = World(settings(DegradationSettings(ways=(replace(STANDBY, tools="skip"), SMALL))))
    world.kill()
    assert world.level() is Level.POOL
    assert world.level(facts(tools=[{"type": "function"}])) is Level.MODEL


def test_embeddings() -> None:
    """Stay with their model: another one's vectors are no answer."""
    world = World(settings())
    request = replace(facts(), path="/v1/embeddings", body=b'{"model": "big", "input": "hello"}')
    world.kill()
    assert world.level(request) is Level.POOL
    world.kill()
    assert world.level() is Level.MODEL
    assert world.named(request).endpoints[0].startswith("10.0.0."), "its own pool, for what it is worth"


def test_rules() -> None:
    """Requests of a rule go the ways of their model, from whichever pool it has; or the rule's own ways, or nowhere."""
    own = PoolSettings(name="own", cluster="pool/own", strategy="round-robin")
    made = settings(replace(WAYS, route_ways={"rule/strict": (), "rule/else": (SMALL,)}))
    world = World(replace(made, pools=(*made.pools, own)))
    assert world.level(facts(cluster="pool/own", route="rule/any")) is Level.POOL
    assert world.level(facts(cluster="pool/own", route="rule/else")) is Level.MODEL
    assert world.level(facts(cluster="pool/own", route="rule/strict")) is Level.REFUSED


def test_other_models_are_left_alone() -> None:
    """A model without ways is answered as ever."""
    world = World(settings(pools={"small": {"endpoints": ()}}))
    answer = world.ask(facts("small", "pool/small", "model/small"))
    assert isinstance(answer, Rejected)
    assert answer.degraded is None


LIMITS = AdmissionSettings(
    max_in_flight=1,
    headroom=0.0,
    priorities=(PrioritySettings(name="now", max_wait_s=5.0), PrioritySettings(name="batch", max_wait_s=60.0)),
)
ONE: Mapping[str, Any] = {"count": 1, "admission": LIMITS}
NARROW: Mapping[str, Mapping[str, Any]] = {"big": ONE, "standby": {"endpoints": ()}, "small": ONE}


def asked(priority: str) -> RequestFacts:
    """With this priority."""
    return replace(facts(), headers={"x-priority": priority})


def test_saturation() -> None:
    """Full pools are passed by; when all are full interactive work goes before batch work, in its own pool."""
    world = World(settings(pools=NARROW))
    first = world.named()
    assert first.degraded is None
    second = world.named()
    assert second.degraded is not None
    assert second.degraded.level is Level.MODEL
    batch, now = world.ask(asked("batch")), world.ask(asked("now"))
    assert isinstance(batch, Waiting)
    assert isinstance(now, Waiting)
    world.end(first)
    (released,) = world.picker.released(world.now, world.rng)
    assert released.ticket == now.ticket
    assert led(released, "later").endpoints == first.endpoints


def test_a_wait_in_vain() -> None:
    """Who waited as long as may be goes where a place is by then; where there is none, it is told so, labelled."""
    world = World(settings(replace(WAYS, answer=CannedSettings(text="Later.")), NARROW))
    world.named()
    second = world.named()
    one = world.ask(asked("now"))
    assert isinstance(one, Waiting)
    world.passes(1.0)
    other = world.ask(asked("now"))
    assert isinstance(other, Waiting)
    world.passes(4.1)
    (released,) = world.picker.released(world.now, world.rng)
    assert released.ticket == one.ticket
    assert isinstance(released.answer, Canned)
    world.end(second)
    world.passes(1.0)
    (released,) = world.picker.released(world.now, world.rng)
    assert released.ticket == other.ticket
    led(released, "small")


def test_a_wait_for_a_pool_that_dies() -> None:
    """Who waits there goes elsewhere, once there is a place."""
    world = World(settings(pools=NARROW))
    first, second = world.named(), world.named()
    waiting = world.ask(asked("now"))
    assert isinstance(waiting, Waiting)
    world.refused(first)
    world.end(second)
    (released,) = world.picker.released(world.now, world.rng)
    led(released, "small")


def test_a_place_that_comes_free_elsewhere() -> None:
    """Is for who waits, interactive work first, and not for who comes next."""
    world = World(settings(pools=NARROW))
    world.named()
    second = world.named()
    batch, now = world.ask(asked("batch")), world.ask(asked("now"))
    assert isinstance(batch, Waiting)
    assert isinstance(now, Waiting)
    world.end(second)
    (released,) = world.picker.released(world.now, world.rng)
    assert released.ticket == now.ticket
    led(released, "small")
    assert isinstance(world.ask(asked("now")), Waiting)
    assert list(world.picker.released(world.now, world.rng)) == []


def test_who_may_not_leave_waits() -> None:
    """Rules of which it is said that their requests stay."""
    world = World(settings(replace(WAYS, route_ways={"rule/stay": ()}), NARROW))
    world.named()
    second = world.named()
    waiting = world.ask(replace(asked("now"), route="rule/stay"))
    assert isinstance(waiting, Waiting)
    world.end(second)
    assert list(world.picker.released(world.now, world.rng)) == []


def test_who_may_not_leave_is_in_nobodys_way() -> None:
    """A place elsewhere is for the first of those who may go there, whoever stands before it; and for one only."""
    world = World(settings(replace(WAYS, route_ways={"rule/stay": ()}), NARROW))
    world.named()
    second = world.named()
    assert isinstance(world.ask(replace(asked("now"), route="rule/stay")), Waiting)
    batch, now, last = (world.ask(asked(word)) for word in ("batch", "now", "now"))
    assert isinstance(batch, Waiting)
    assert isinstance(now, Waiting)
    assert isinstance(last, Waiting)
    world.end(second)
    (released,) = world.picker.released(world.now, world.rng)
    assert released.ticket == now.ticket
    led(released, "small")


def test_those_who_may_leave_and_have_left() -> None:
    """Nobody is remembered of a group whose last one has gone, however it went."""
    world = World(settings(pools=NARROW))
    first = world.named()
    second = world.named()
    left, served, expired = (world.ask(asked(word)) for word in ("now", "batch", "now"))
    assert isinstance(left, Waiting)
    assert isinstance(served, Waiting)
    assert isinstance(expired, Waiting)
    world.picker.leave(left.ticket)
    world.passes(5.1)
    assert [each.ticket for each in world.picker.released(world.now, world.rng)] == [expired.ticket]
    world.end(first)
    assert [each.ticket for each in world.picker.released(world.now, world.rng)] == [served.ticket]
    world.end(second)
    assert list(world.picker.released(world.now, world.rng)) == []
    assert world.picker._reception._room._groups == {}


def test_a_way_that_is_newer_than_who_waits() -> None:
    """Envoy keeps the routes that it had when a request came."""
    world = World(settings(DegradationSettings(), NARROW))
    world.named()
    waiting = world.ask(asked("now"))
    assert isinstance(waiting, Waiting)
    world.picker.apply_settings(settings(pools=NARROW), world.now)
    world.passes(ROUTES_S)
    assert list(world.picker.released(world.now, world.rng)) == []
    assert world.level() is Level.MODEL


def test_a_first_token_limit() -> None:
    """A request that would miss it goes elsewhere, once it is known how long first tokens take."""
    kv_aware = {name: {"strategy": "kv-aware"} for name in NARROW}
    world = World(settings(replace(WAYS, slo_ms=1_000.0), kv_aware))

    def fresh(size: int) -> RequestFacts:
        """A prompt of about so many tokens that nobody has seen."""
        content = f"{world.rng.getrandbits(64):016x}" * (size // 4)
        return facts(messages=[{"role": "user", "content": content}], stream=True)

    for _ in range(ENOUGH):
        named = world.named(fresh(1_000))
        assert named.degraded is None, "nothing is known yet"
        world.end(named, ttft_ms=400.0)
        world.now += 1.0
    assert world.level(fresh(1_000)) is None
    assert world.level(fresh(20_000)) is None, "it would be no sooner elsewhere"
    degraded = [world.named(fresh(1_000)).degraded for _ in range(9)]
    labels = [each and each.label for each in degraded]
    assert set(labels) == {None, "pool/standby", "small"}, "each pool takes what it can in time"
    first = next(each for each in degraded if each is not None)
    assert first.label == "pool/standby"
    assert "its first token would come after" in first.why


def test_a_new_way() -> None:
    """Is not used before Envoys have the route that belongs to it; one that was there before stays in use."""
    world = World(settings(DegradationSettings(ways=(SMALL,))))
    world.kill()
    world.picker.apply_settings(settings(), world.now)
    assert world.level() is Level.MODEL
    world.passes(ROUTES_S)
    assert world.level() is Level.POOL


def test_a_new_way_that_envoys_are_known_to_have() -> None:
    """However long that takes, it is not used before; and then for requests that began after that."""
    world = World(settings(DegradationSettings(ways=(SMALL,))))
    world.kill()
    made = settings()
    world.picker.apply_settings(replace(made, led_to=frozenset({SMALL.cluster})), world.now)
    world.passes(2 * ROUTES_S)
    assert world.level() is Level.MODEL
    world.picker.apply_settings(replace(made, led_to=frozenset({SMALL.cluster, STANDBY.cluster})), world.now)
    assert world.level() is Level.MODEL
    world.passes(UPLOAD_S)
    assert world.level() is Level.POOL


def test_new_settings_in_the_middle() -> None:
    """Ways that are gone are not gone any more, with whoever waits; what was found of pools is kept."""
    world = World(settings(pools=NARROW))
    first = world.named()
    world.named()
    waiting = world.ask(asked("now"))
    assert isinstance(waiting, Waiting)
    plain = replace(settings(pools=NARROW), degradations={})
    world.picker.apply_settings(plain, world.now)
    world.passes(5.1)
    (released,) = world.picker.released(world.now, world.rng)
    assert isinstance(released.answer, Rejected)
    assert released.answer.degraded is None
    world.picker.apply_settings(settings(pools=NARROW), world.now)
    world.passes(ROUTES_S)
    world.refused(first)
    assert isinstance(world.ask(), Waiting), "the small pool is full: it waits there"


@given(st.lists(st.sampled_from(["ask", "kill", "ready", "pass", "end"]), max_size=60))
def test_whatever_happens(steps: list[str]) -> None:
    """Every answer is a name; nothing stays reserved; after all is well for long enough nothing is degraded."""
    world = World(settings())
    for step in steps:
        match step:
            case "ask":
                world.named()
            case "kill":
                named = world.named()
                world.running.remove(named)
                world.refused(named)
            case "ready":
                for number in range(3):
                    world.ready(number)
            case "pass":
                world.passes(3.0)
            case "end" if world.running:
                world.end(world.running[0])
    for number in range(3):
        world.ready(number)
    world.passes(11.0)
    assert world.level() is None
    while world.running:
        world.end(world.running[0])
    world.passes(6.0)
    assert world.picker.open_reservations == 0
    assert world.picker.survey.degraded() == []
