"""Crowds that wait for a place: all get in, in order; and those who give up leave nothing behind."""

import asyncio
import random
from collections import Counter, defaultdict
from functools import cache, partial
from itertools import pairwise

from ext_proc.core.fair_queue import LEAST_TOKENS, QUANTUM_TOKENS
from ext_proc.core.settings import PickerSettings, PrioritySettings
from tests.unit.ext_proc import envoy_messages as envoy
from tests.unit.ext_proc.test_service import PATIENCE_S, ask, running, settled
from tests.unit.ext_proc.test_service_admission import settings, waiting

CROWD = 10_000
TENANTS = 20
PRIORITIES = ("high", "normal", "low")
WORDS = (10, 40, 150, 600, 1_500)
"""Of a prompt; a word and its space are a token, as the picker estimates."""

GIVING_UP = 1_000


def roomy() -> PickerSettings:
    """One place, and a queue that takes the crowd."""
    priorities = tuple(PrioritySettings(name=name, max_wait_s=300.0) for name in PRIORITIES)
    return settings(max_waiting=CROWD, max_waiting_tokens=10**9, priorities=priorities, usual_priority=1)


@cache
def message(priority: str, tenant: int, words: int) -> bytes:
    """A request with these headers and so long a prompt."""
    headers = {'request.headers["x-priority"]': priority, 'request.headers["x-tenant"]': f"t{tenant}"}
    prompt = b'{"model": "m", "prompt": "%s"}' % (b"why " * words)
    return envoy.body(prompt, attributes={**envoy.ATTRIBUTES, **headers})


async def test_ten_thousand_drain_in_order() -> None:
    """3 priorities, 20 tenants, one place: priorities in order, tenants by turns of tokens, first come first served."""
    rng = random.Random(1)
    crowd = [(rng.randrange(3), rng.randrange(TENANTS), rng.choice(WORDS)) for _ in range(CROWD)]
    order: list[int] = []
    async with running(roomy()) as it:
        everybody = [it.service.open() for _ in range(1 + CROWD)]
        first, *others = everybody
        assert envoy.metadata(first.feed(message("high", 0, 10))[0])
        gone = asyncio.Event()

        def let_in(number: int, told: "asyncio.Future[list[bytes]]") -> None:
            assert envoy.metadata(told.result()[0])["x-gateway-destination-endpoint"]
            order.append(number)
            others[number].ended(by_us=False)
            if len(order) == CROWD:
                gone.set()

        for number, (priority, tenant, words) in enumerate(crowd):
            (told,) = others[number].feed(message(PRIORITIES[priority], tenant, words))
            assert set(envoy.answer(told)) == {"overrideMessageTimeout"}
            later = others[number].later
            assert later is not None
            later.add_done_callback(partial(let_in, number))
        assert it.service.status()["pools"]["p"]["admission"]["waiting"] == dict(
            zip(PRIORITIES, (sum(each[0] == p for each in crowd) for p in range(3)), strict=True)
        )
        first.ended(by_us=False)
        await asyncio.wait_for(gone.wait(), 3 * PATIENCE_S)
        assert (len(it.service._waiters), it.service._waiters._asked, it.picker.waiting) == (0, {}, 0)
        assert it.service.open_reservations == 0
        assert it.service.counters.picked == {("p", "round-robin"): 1 + CROWD}
        assert not it.service.counters.rejected
    assert sorted(order) == list(range(CROWD))
    assert all(crowd[one][0] <= crowd[next_][0] for one, next_ in pairwise(order))
    lines = defaultdict(list)
    for number in order:
        lines[crowd[number][:2]].append(number)
    assert all(line == sorted(line) for line in lines.values())
    _check_turns([crowd[number] for number in order])


def _check_turns(served: list[tuple[int, int, int]]) -> None:
    """As long as two tenants have somebody waiting, they get about as many tokens, short prompts counted as charged."""
    for priority in range(3):
        here = [(tenant, words) for each, tenant, words in served if each == priority]
        left = Counter(tenant for tenant, _ in here)
        assert len(left) == TENANTS
        got = dict.fromkeys(left, 0)
        for tenant, words in here:
            got[tenant] += max(LEAST_TOKENS, words)
            left[tenant] -= 1
            waiting_too = [got[each] for each, count in left.items() if count]
            assert max(waiting_too, default=0) - min(waiting_too, default=0) <= QUANTUM_TOKENS + 2 * max(WORDS)


async def test_a_thousand_give_up() -> None:
    """Politely or not, in the midst of waiting: no stream, no task, no ticket, no place of theirs is left."""
    async with running(roomy()) as it:
        holder = it.stream()
        await ask(holder, message("high", 0, 10))
        before = len(asyncio.all_tasks())
        calls = await asyncio.gather(
            *(waiting(it, message(PRIORITIES[n % 3], n % TENANTS, 10)) for n in range(GIVING_UP))
        )
        assert it.service.open_streams == 1 + GIVING_UP
        assert it.picker.waiting == GIVING_UP
        for number, call in enumerate(calls):
            if number % 2:
                call.cancel()
            else:
                await call.done_writing()
        await settled(lambda: it.service.open_streams == 1)
        door = it.service.status()["pools"]["p"]["admission"]
        assert (door["left"], door["waiting_tokens"], sum(door["waiting"].values())) == (GIVING_UP, 0, 0)
        assert (len(it.service._waiters), it.service._waiters._asked, it.picker.waiting) == (0, {}, 0)
        assert it.service.open_reservations == 1
        del calls, call
        await settled(lambda: len(asyncio.all_tasks()) <= before)
        await holder.done_writing()
        await settled(lambda: it.service.open_streams == it.service.open_reservations == 0)
        assert envoy.metadata(await ask(it.stream(), message("low", 3, 10))), "its place is free"
        assert it.service.counters.picked == {("p", "round-robin"): 2}
        assert it.service.counters.internal_errors == 0
