"""From what engines tell to whom a picker names."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.core.decision import Named
from ext_proc.core.events import AttemptEnded, FirstToken, Probed, RequestEnded, Scraped, ScrapeFailed, Tried
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, HealthSettings, PickerSettings, PoolSettings, TrialSettings
from ext_proc.core.verdicts import State

NAMES = tuple(f"10.0.0.{n}:80" for n in range(1, 5))
A, B, C, D = NAMES


class Bench:
    """A picker over one pool. Mutable: it."""

    def __init__(self, health: HealthSettings | None = HealthSettings(), names: tuple[str, ...] = NAMES) -> None:  # noqa: B008
        self.rng = random.Random(1)
        self.picker = Picker(self.settings(health, names))

    @staticmethod
    def settings(health: HealthSettings | None, names: tuple[str, ...] = NAMES) -> PickerSettings:
        """The pool `p`."""
        endpoints = tuple(EndpointSettings(address=name) for name in names)
        pool = PoolSettings(name="p", cluster="pool/p", strategy="round-robin", endpoints=endpoints, health=health)
        return PickerSettings(version="v", pools=(pool,))

    def named(self, now: float) -> tuple[str, ...]:
        """Who is named for one request."""
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
        facts = RequestFacts(cluster="pool/p", route="", path="/v1/chat/completions", headers={}, body=body)
        answer = self.picker.decide(facts, now, self.rng)
        assert isinstance(answer, Named), answer
        return answer.endpoints

    def first(self, now: float, count: int = 24) -> set[str]:
        """Who is named first for some requests."""
        return {self.named(now)[0] for _ in range(count)}

    def scrape(self, address: str, at: float, **numbers: Any) -> None:
        """A page of numbers."""
        told: dict[str, Any] = {"running": 0, "waiting": 0} | numbers
        self.picker.apply(Scraped(address=address, at=at, **told))

    def full(self, *addresses: str, at: float) -> None:
        """Their memory is used up."""
        for n in range(3):
            for address in addresses:
                self.scrape(address, at + n / 10, kv_usage=0.97)

    def stuck(self, *addresses: str, since: float) -> None:
        """Requests run there and no token comes, for 31 s from then on."""
        for address in addresses:
            for at in (since, since + 31.0):
                self.scrape(address, at, running=1, generation_tokens=5)

    def word(self, address: str, now: float) -> dict[str, Any]:
        """Of an endpoint in the status."""
        rows = self.picker.survey.pools(now)["p"]["endpoints"]
        return {key: row[key] for row in rows if row["address"] == address for key in ("health", "state", "why")}


def test_degraded_ones_are_named_last() -> None:
    """Two of four are full: they are named after the others, as long as they are."""
    bench = Bench()
    assert bench.first(0.0) == set(NAMES)
    bench.full(A, B, at=1.0)
    assert bench.first(2.0) == {C, D}
    assert bench.named(2.0)[2] in (A, B)
    assert bench.word(A, 2.0) == {"health": "degraded", "state": "degraded", "why": "97% of its KV memory is used"}
    assert bench.picker.survey.health(2.0) == [
        ("p", [(A, "degraded"), (B, "degraded"), (C, "healthy"), (D, "healthy")])
    ]
    for at in (3.0, 3.2):
        bench.scrape(A, at, kv_usage=0.5)
    assert bench.first(4.0) == {A, C, D}


def test_more_than_half_are_degraded() -> None:
    """Then it is the load: all are named as before, though they are called so."""
    bench = Bench()
    bench.full(A, B, C, at=1.0)
    assert bench.first(2.0) == set(NAMES)
    assert bench.word(C, 2.0)["health"] == "degraded"


def test_unhealthy_ones_are_not_named() -> None:
    """Not even for a retry."""
    bench = Bench()
    bench.stuck(A, since=0.0)
    assert bench.word(A, 32.0) == {
        "health": "unhealthy",
        "state": "unhealthy",
        "why": "1 requests run and no token came for 31 s",
    }
    for _ in range(12):
        assert A not in bench.named(32.0)
    assert bench.picker.survey.out(32.0) == [("p", [A], 4)]
    assert not bench.picker.survey.is_sound(A, 32.0)


def test_more_than_half_are_unhealthy() -> None:
    """No more than half are left alone, and of a pool that is out as a whole nobody."""
    bench = Bench()
    bench.stuck(A, B, C, since=0.0)
    assert len(bench.first(32.0)) == 2
    bench.stuck(D, since=1.0)
    assert bench.first(33.0) == set(NAMES)


def test_silence() -> None:
    """Is noticed by the regular look, and ended by two signs of life."""
    bench = Bench()
    bench.scrape(A, 0.0)
    for now in range(32):
        bench.picker.expire(float(now))
    assert bench.word(A, 31.0)["health"] == "unhealthy"
    bench.scrape(A, 32.0)
    assert bench.word(A, 32.0)["health"] == "unhealthy"
    bench.scrape(A, 32.2)
    assert bench.word(A, 32.2)["health"] == "healthy"


def test_a_page_that_cannot_be_read() -> None:
    """Degrades after three times; tokens that come take it back."""
    bench = Bench()
    bench.scrape(A, 0.0)
    for n in range(3):
        bench.picker.apply(ScrapeFailed(address=A, at=1.0 + n, reason="status 500"))
    assert bench.word(A, 4.0) == {
        "health": "degraded",
        "state": "degraded",
        "why": "its metrics cannot be read: status 500",
    }
    for n in range(2):
        bench.picker.apply(FirstToken(decision_id=f"{n}", address=A, at=5.0, ttft_ms=10.0))
    assert bench.word(A, 5.0)["health"] == "healthy"


def refuse(bench: Bench, address: str, at: float) -> None:
    """A connection is refused there."""
    bench.picker.apply(
        AttemptEnded(decision_id="x", address=address, at=at, status=503, flags=("UF",), failure="connection refused")
    )


def test_ejections_stand_beside_it() -> None:
    """An endpoint that is ejected is called so; one that is unhealthy besides is not tried before it is better."""
    bench = Bench()
    refuse(bench, A, 0.0)
    assert (bench.word(A, 0.5)["health"], bench.word(A, 0.5)["state"]) == ("ejected", "unknown")
    assert A in bench.first(2.0)
    bench = Bench()
    refuse(bench, A, 29.0)
    bench.stuck(A, since=0.0)
    assert (bench.word(A, 32.0)["health"], bench.word(A, 32.0)["state"]) == ("half-open", "unhealthy")
    assert A not in bench.first(32.0)
    for n in range(2):
        bench.scrape(A, 33.0, generation_tokens=6 + n)
    assert A in bench.first(34.0)


def test_why_of_an_ejection() -> None:
    """What became of requests, where nothing else is found of the endpoint."""
    bench = Bench()
    refuse(bench, A, 1.0)
    assert bench.word(A, 1.0) == {"health": "ejected", "state": "unknown", "why": "connections are refused"}
    bench.full(A, at=1.1)
    assert bench.word(A, 1.4) == {"health": "ejected", "state": "degraded", "why": "97% of its KV memory is used"}


def test_attempts_switched_off() -> None:
    """What becomes of requests ejects nobody."""
    bench = Bench(HealthSettings(attempts=False))
    refuse(bench, A, 0.0)
    assert bench.word(A, 0.5)["health"] == "healthy"
    assert bench.first(0.5) == set(NAMES)


def test_pools_that_say_nothing_of_it() -> None:
    """Are as ever, whatever engines tell; nothing is found and nothing is told."""
    bench = Bench(None)
    bench.full(A, B, at=0.0)
    bench.stuck(C, since=0.0)
    assert bench.first(40.0) == set(NAMES)
    assert bench.word(C, 40.0) == {"health": "healthy", "state": "unknown", "why": ""}
    assert bench.picker.survey.take_health_changes() == []


def test_changes() -> None:
    """By address, once."""
    bench = Bench()
    bench.full(B, at=0.0)
    ((address, change),) = bench.picker.survey.take_health_changes()
    assert (address, change.was, change.now) == (B, State.HEALTHY, State.DEGRADED)
    assert bench.picker.survey.take_health_changes() == []


def test_other_rules() -> None:
    """Who is judged by other rules is as if nothing had been found."""
    bench = Bench()
    bench.full(A, at=0.0)
    bench.picker.apply_settings(Bench.settings(HealthSettings(max_kv_usage=0.99)), 1.0)
    assert bench.first(1.0) == set(NAMES)
    bench.full(B, at=1.0)
    assert bench.first(2.0) == set(NAMES)


def test_who_leaves() -> None:
    """Is forgotten; who comes back is not what it was."""
    bench = Bench()
    bench.full(A, at=0.0)
    bench.picker.apply_settings(Bench.settings(HealthSettings(), NAMES[1:]), 1.0)
    bench.picker.apply_settings(Bench.settings(HealthSettings()), 2.0)
    assert bench.word(A, 2.0) == {"health": "healthy", "state": "unknown", "why": ""}


def test_probes() -> None:
    """Not ready three times is unhealthy, nobody listening at once; ready twice is well again."""
    bench = Bench()
    for n in range(3):
        assert bench.word(A, 1.0)["health"] == "healthy"
        bench.picker.apply(Probed(address=A, at=float(n), fault="/health: HTTP 503"))
    assert bench.word(A, 3.0) == {
        "health": "unhealthy",
        "state": "unhealthy",
        "why": "it is not ready: /health: HTTP 503",
    }
    bench.picker.apply(Probed(address=B, at=3.0, fault="cannot connect: refused", is_refused=True))
    assert bench.first(3.0) == {C, D}
    for n in range(2):
        assert bench.word(A, 4.0)["health"] == "unhealthy"
        bench.picker.apply(Probed(address=A, at=4.0 + n))
    assert bench.first(6.0) == {A, C, D}
    bench.picker.apply(Probed(address="10.9.9.9:1", at=6.0, fault="nobody's"))


def test_probes_of_one_without_traffic() -> None:
    """A refused connection ejected it: being ready later ends that without a request; what was before it does not."""
    bench = Bench()
    refuse(bench, A, 1.0)
    bench.picker.apply(Probed(address=A, at=0.9))
    assert bench.word(A, 1.1)["health"] == "ejected"
    bench.picker.apply(Probed(address=A, at=1.1))
    assert bench.word(A, 1.1)["health"] == "healthy"


def test_probes_do_not_refute_failures() -> None:
    """An engine that fails every request may well say that it is ready: that is for a request to find out."""
    bench = Bench()
    for n in range(3):
        bench.picker.apply(AttemptEnded(decision_id=f"{n}", address=A, at=1.0, status=500))
    assert bench.word(A, 1.0)["health"] == "ejected"
    for _ in range(3):
        bench.picker.apply(Probed(address=A, at=1.5))
    assert bench.word(A, 1.5)["health"] == "ejected"


def test_probes_where_nothing_is_said_of_health() -> None:
    """Change nothing."""
    bench = Bench(None)
    refuse(bench, A, 1.0)
    bench.picker.apply(Probed(address=A, at=2.5))
    assert bench.word(A, 2.5)["health"] == "half-open"


actions = st.tuples(st.sampled_from(["full", "free", "stuck", "alive", "unready", "ready"]), st.sampled_from(NAMES))


@settings(deadline=None)
@given(st.lists(actions, max_size=40))
def test_whatever_engines_tell(taken: list[tuple[str, str]]) -> None:
    """Somebody is always named. Nobody unhealthy is, while they are no more than half; and nobody degraded is named
    first, while those are no more than half and somebody healthy is left."""
    bench, now = Bench(), 0.0
    for action, address in taken:
        now += 40.0
        for n in range(3):
            match action:
                case "full" | "free":
                    bench.scrape(address, now + n, kv_usage=0.99 if action == "full" else 0.2)
                case "stuck":
                    bench.scrape(address, now - 40.0 * (2 - n), running=1, generation_tokens=5)
                case "alive":
                    bench.scrape(address, now + n, running=1, generation_tokens=int(now) + n + 10)
                case _:
                    bench.picker.apply(Probed(address=address, at=now, fault="" if action == "ready" else "no"))
        words = {name: bench.word(name, now)["health"] for name in NAMES}
        down = {name for name, word in words.items() if word == "unhealthy"}
        worse = {name for name, word in words.items() if word == "degraded"}
        named = bench.named(now)
        assert len(set(named)) == len(named) > 0
        if len(down) <= 2:
            assert down.isdisjoint(named)
            if len(worse) <= 2 and len(down | worse) < len(NAMES):
                assert named[0] not in worse


def streamed(bench: Bench, now: float) -> tuple[str, str]:
    """A stream, and who was named for it first."""
    body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    facts = RequestFacts(cluster="pool/p", route="", path="/v1/chat/completions", headers={}, body=body)
    answer = bench.picker.decide(facts, now, bench.rng)
    assert isinstance(answer, Named), answer
    assert answer.first_byte_ms is not None
    return answer.decision_id, answer.endpoints[0]


def test_headers_without_a_token() -> None:
    """Three streams at one endpoint begin with headers and never have a byte: it is out; who has one is not."""
    bench = Bench()
    for second in range(3 * len(NAMES)):
        decision_id, address = streamed(bench, float(second))
        if address != A:
            bench.picker.apply(FirstToken(decision_id=decision_id, address=address, at=second + 0.1, ttft_ms=100.0))
        bench.picker.expire(float(second))
    for second in range(3 * len(NAMES), 60):
        bench.picker.expire(float(second))
    assert bench.word(A, 60.0)["health"] in ("ejected", "half-open")
    assert {bench.word(each, 60.0)["health"] for each in (B, C, D)} == {"healthy"}


TRIED = HealthSettings(trial=TrialSettings())


def ejected(bench: Bench, address: str, at: float) -> None:
    """A connection was refused."""
    bench.picker.apply(
        AttemptEnded(decision_id="x", address=address, at=at, status=503, flags=("UF",), failure="refused")
    )


def test_a_token_of_ones_own_comes_before_any_request() -> None:
    """Pages that answer are no reason to send anybody there; two tokens are enough to be named again."""
    bench = Bench(TRIED)
    bench.scrape(A, 0.5)
    ejected(bench, A, 1.0)
    for n in range(20):
        bench.scrape(A, 2.0 + n)
    assert A not in bench.first(40.0)
    assert bench.picker.due_trials(40.0, 8) == [A]
    assert bench.picker.due_trials(40.1, 8) == []
    bench.picker.apply(Tried(address=A, at=40.2, started_at=40.0, status=200))
    assert bench.word(A, 40.3)["health"] == "half-open"
    assert bench.picker.due_trials(41.3, 8) == [A]
    bench.picker.apply(Tried(address=A, at=41.4, started_at=41.3, status=200))
    assert bench.word(A, 41.5)["health"] == "healthy"
    bench.picker.apply(Tried(address="10.9.9.9:1", at=42.0, started_at=41.0, status=200))


def test_pages_are_the_sign_where_no_token_can_be_had() -> None:
    """It knows no page to ask on: then being read after the ejection must do, unless its counters stand still."""
    bench = Bench(TRIED)
    bench.scrape(A, 0.5, running=1, generation_tokens=5)
    ejected(bench, A, 1.0)
    assert bench.picker.due_trials(2.0, 8) == [A]
    bench.picker.apply(Tried(address=A, at=2.1, started_at=2.0, status=404))
    assert A not in bench.first(20.0)
    bench.scrape(A, 21.0, running=1, generation_tokens=5)
    assert A not in bench.first(21.5), "one runs, and nothing was computed"
    bench.scrape(A, 22.0, running=1, generation_tokens=6)
    assert A in bench.first(22.5)


def test_a_page_that_fails_again_is_no_sign() -> None:
    """Without tries of our own: dead, alive, and dead again before anybody was sent there."""
    bench = Bench()
    bench.scrape(A, 0.5)
    ejected(bench, A, 1.0)
    assert A not in bench.first(30.0)
    bench.scrape(A, 31.0)
    assert bench.word(A, 31.0)["health"] == "half-open"
    bench.picker.apply(ScrapeFailed(address=A, at=31.5, reason="no"))
    assert A not in bench.first(32.0)


def test_time_does_where_nobody_looks() -> None:
    """No pages, no tries: half open after the back-off, as ever; so it is when tries are switched off meanwhile."""
    bench = Bench()
    ejected(bench, A, 1.0)
    assert A in bench.first(2.5)
    bench = Bench(TRIED)
    ejected(bench, A, 1.0)
    assert A not in bench.first(20.0)
    bench.picker.apply_settings(bench.settings(HealthSettings()))
    assert A in bench.first(20.0)


def test_who_embeds_is_not_asked_for_tokens() -> None:
    """Nobody knows what it would answer: pages or time decide, as without tries."""
    bench = Bench(TRIED)
    body = b'{"model": "m", "input": "hi"}'
    for second in range(len(NAMES)):
        facts = RequestFacts(cluster="pool/p", route="", path="/v1/embeddings", headers={}, body=body)
        answer = bench.picker.decide(facts, float(second), bench.rng)
        assert isinstance(answer, Named), answer
        served = RequestEnded(decision_id=answer.decision_id, at=second + 0.5, status=200, served=answer.endpoints[0])
        bench.picker.apply(served)
    ejected(bench, A, 5.0)
    assert bench.picker.due_trials(7.0, 8) == []
    assert A in bench.first(7.0)


def test_an_error_makes_suspect() -> None:
    """One 500 for a request, two for us: ejected within the time of two looks."""
    bench = Bench(TRIED)
    bench.picker.apply(AttemptEnded(decision_id="x", address=A, at=1.0, status=500))
    for at in (1.1, 1.2):
        assert bench.picker.due_trials(at, 8) == [A]
        bench.picker.apply(Tried(address=A, at=at, started_at=at, status=500))
    assert bench.word(A, 1.3)["health"] == "ejected"
    assert bench.word(B, 1.3)["health"] == "healthy"


def test_silence_makes_suspect() -> None:
    """Pages that cannot be read any more, or a probe in vain: a token is asked for, and who is gone is out before any
    request; whose pages alone are broken answers, and is not asked again for that."""
    bench = Bench(TRIED)
    for name in (A, B):
        bench.scrape(name, 1.0)
    for at in (2.0, 3.0, 4.0):
        assert bench.picker.due_trials(at, 8) == []
        for name in (A, B):
            bench.picker.apply(ScrapeFailed(address=name, at=at, reason="cannot connect"))
    bench.picker.apply(Probed(address=C, at=4.0, fault="cannot connect", is_refused=True))
    assert sorted(bench.picker.due_trials(4.5, 8)) == [A, B, C]
    bench.picker.apply(Tried(address=A, at=4.6, started_at=4.5, is_refused=True))
    bench.picker.apply(Tried(address=B, at=4.6, started_at=4.5, status=200))
    bench.picker.apply(Tried(address=C, at=4.6, started_at=4.5, is_refused=True))
    assert [bench.word(name, 4.7)["health"] for name in (A, B, C, D)] == ["ejected", "degraded", "ejected", "healthy"]
    assert bench.picker.due_trials(5.59, 8) == []
