"""Who holds a request that waits is told in time, and what is noted of it."""

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

from ext_proc.core.decision import Answer, Named, Unpicked, Waiting
from ext_proc.core.request import RequestFacts
from ext_proc.core.waiting_room import Released
from ext_proc.waiters import INTERVAL_S, MAX_RELEASED, Waiters
from tests.kit.waiting import eventually

NAMED = Named(decision_id="d", endpoints=("10.0.0.1:80",))
FACTS = RequestFacts(path="/v1/completions")


class Bench:
    """Waiters of a picker that answers as the test wants. Mutable: what is ready, who was told, what was noted."""

    def __init__(self) -> None:
        self.ready: list[Released] = []
        self.told: dict[int, Answer | Waiting] = {}
        self.noted: list[tuple[int, float]] = []
        self.left: list[int] = []
        self.bugs: list[str] = []
        self.is_closed = False
        picker: Any = self
        self.waiters = Waiters(
            picker, lambda: 7.0, random.Random(1), answered=self.note, note_bug=lambda what: self.bugs.append(what)
        )

    def released(self, now: float, rng: random.Random) -> Iterator[Released]:
        """As the picker's."""
        while self.ready:
            yield self.ready.pop(0)

    def leave(self, ticket: int) -> None:
        """As the picker's."""
        self.left.append(ticket)

    def close(self) -> None:
        """As the picker's: all may go."""
        self.is_closed = True
        self.ready += [Released(ticket=ticket, answer=Unpicked("shutting down")) for ticket in self.waiters._held]

    def note(self, facts: RequestFacts, released: Released, now: float) -> None:
        """What the service notes."""
        assert released.ticket in self.told, "whoever waits comes first"
        self.noted.append((released.ticket, now))

    def wait(self, *tickets: int) -> None:
        """These wait from now on."""
        for ticket in tickets:
            self.waiters.asked(ticket, FACTS)
            self.waiters.hold(ticket, partial(self.told.__setitem__, ticket))


async def test_who_can_be_answered_is() -> None:
    """At the next look, the first of which is in the next turn of the loop; the others wait on."""
    bench = Bench()
    bench.wait(1, 2)
    bench.ready = [Released(ticket=1, answer=NAMED, waited_s=2.0)]
    assert bench.told == {}
    await asyncio.sleep(0)
    assert (bench.told, bench.noted, len(bench.waiters)) == ({1: NAMED}, [(1, 7.0)], 1)
    bench.ready = [Released(ticket=2, answer=NAMED)]
    await eventually(lambda: 2 in bench.told, f"a look within {INTERVAL_S} s")
    assert len(bench.waiters) == 0


async def test_many() -> None:
    """Others have their turn in between."""
    bench = Bench()
    bench.wait(*range(MAX_RELEASED + 1))
    bench.ready = [Released(ticket=ticket, answer=NAMED) for ticket in range(MAX_RELEASED + 1)]
    bench.waiters.look()
    assert len(bench.told) == MAX_RELEASED
    await eventually(lambda: not len(bench.waiters), "the rest")


async def test_who_leaves() -> None:
    """The picker is told, and nothing of the request is left."""
    bench = Bench()
    bench.wait(1)
    bench.waiters.abandon(1)
    assert (bench.left, len(bench.waiters), bench.waiters._asked) == ([1], 0, {})


async def test_the_end() -> None:
    """All are answered, however many."""
    bench = Bench()
    bench.wait(*range(3 * MAX_RELEASED))
    bench.waiters.close()
    assert bench.is_closed
    assert len(bench.told) == 3 * MAX_RELEASED
    assert len(bench.waiters) == 0


async def test_a_bug() -> None:
    """It is noted and costs one answer."""
    bench = Bench()
    bench.wait(1)
    bench.ready = [Released(ticket=9, answer=NAMED), Released(ticket=1, answer=NAMED)]
    bench.waiters.look()
    assert bench.bugs == ["the answer to a request that waited"]
    await eventually(lambda: 1 in bench.told, "the other one")
