"""A model of one inference engine that works like vLLM V1: continuous batching, chunked prefill, a prefix cache.

Pure: the clock is an argument (seconds, any origin), nothing here waits. One *step* computes some tokens of every
running request; all effects of a step (tokens, gauges, freed memory) appear at its end. Example:

    engine = Engine(Profile())
    engine.submit(Request("a", blocks=(), prompt_tokens=100, output_tokens=2), now=0.0)
    while (at := engine.next_event_at()) is not None:
        events = engine.advance(at)

Scheduling follows vLLM's V1 scheduler: running requests first, in order of admission, then waiting ones, first come
first served; each step has a token budget that decodes and prefill chunks share; a request that cannot get a block
makes the newest running one give all of its blocks back and start over (preemption), at the head of the queue.

Time inside is integer nanoseconds, so that one long `advance` and many short ones end in exactly the same state.
"""

from collections import deque
from collections.abc import Sequence

from sim.blocks import BlockCache, Hold
from sim.events import Event, Finished, FirstToken, Gauges, Request, RequestTooLongError, Token, Usage
from sim.profile import DEMO, Profile

__all__ = [
    "DEMO",
    "Engine",
    "Event",
    "Finished",
    "FirstToken",
    "Gauges",
    "Profile",
    "Request",
    "RequestTooLongError",
    "Token",
    "Usage",
]

_NS = 1_000_000_000


class _Sequence:
    """One unfinished request inside the engine."""

    __slots__ = ("aborted", "cached", "computed", "generated", "hold", "is_over", "known", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.hold = Hold()
        self.computed = 0  # tokens whose KV is stored
        self.generated = 0  # tokens given out
        self.known = request.prompt_tokens  # tokens to be computed before the next one: prompt + generated
        self.cached: int | None = None  # prompt tokens found at the first admission
        self.aborted = False
        self.is_over = False


class Engine:
    """One engine. Not thread-safe; every method is called with a clock that never goes back."""

    # What changes: the queue, the running list, the step in flight, totals, slowdown. Single writer: the caller.
    def __init__(self, profile: Profile = DEMO) -> None:
        """Start idle and cold."""
        self.profile = profile
        self.cache = BlockCache(profile.kv_blocks)
        self._sequences: dict[str, _Sequence] = {}
        self._waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []
        self._scheduled: list[tuple[_Sequence, int]] = []
        self._step_ends: int | None = None
        self._step_lasts = 0
        self._decodes_only = False
        self._slowdown = 1.0
        self._prompt_tokens = self._cached_tokens = self._generation_tokens = 0
        self._prefix_queries = self._prefix_hits = self._preemptions = 0
        self._finished = self._aborted = self._steps = 0
        self._published = self._state()

    def __repr__(self) -> str:
        """Say what is going on; tests compare it."""
        return f"<Engine running={len(self._running)} waiting={len(self._waiting)} {self.cache!r}>"

    @property
    def waiting(self) -> int:
        """Requests in the queue at this moment (admission control sees it; the gauge is as old as the last step)."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """Requests that have been submitted and have neither finished nor been aborted."""
        return len(self._sequences)

    def submit(self, request: Request, now: float) -> None:
        """Queue a request at `now` (seconds). An idle engine starts a step at once.

        Raises RequestTooLongError, or ValueError for an id in use or a clock that skips the end of a step.
        """
        now_ns = self._checked(now)
        if request.prompt_tokens + request.output_tokens > self.profile.kv_tokens:
            raise RequestTooLongError(
                f"{request.prompt_tokens} + {request.output_tokens} tokens, {self.profile.kv_tokens} fit"
            )
        if request.id in self._sequences:
            raise ValueError(f"request id {request.id!r} is in use")
        sequence = _Sequence(request)
        self._sequences[request.id] = sequence
        self._waiting.append(sequence)
        if self._step_ends is None:
            self._start_step(now_ns)

    def abort(self, request_id: str, now: float) -> bool:
        """Forget a request: no event of it follows. False when it is unknown or has ended.

        A running one keeps its place and its blocks until the step in flight ends, as in vLLM. Raises ValueError for a
        clock that skips the end of a step.
        """
        self._checked(now)
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return False
        sequence.aborted = True
        self._aborted += 1
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        return True

    def set_slowdown(self, factor: float) -> None:
        """Make every later step last `factor` times as long. Raises ValueError unless it is positive."""
        if not factor > 0:
            raise ValueError("the slowdown must be positive")
        self._slowdown = factor

    def next_event_at(self) -> float | None:
        """When the step in flight ends (seconds); None while there is nothing to do."""
        return None if self._step_ends is None else self._step_ends / _NS

    def advance(self, now: float) -> list[Event]:
        """Let time pass until `now`; return what happened since, in order.

        Tokens that one request gets in a row may come as one `Token` event when `now` lies several steps ahead.
        """
        now_ns = round(now * _NS)
        events: list[Event] = []
        while self._step_ends is not None and self._step_ends <= now_ns:
            self._finish_step(self._leap(now_ns), events)
        return events

    def gauges(self) -> Gauges:
        """What `/metrics` shows: the state at the end of the last step."""
        return Gauges(*self._published)

    def cached_tokens(self, blocks: Sequence[int], prompt_tokens: int) -> int:
        """Tokens of such a prompt that would not be computed if it were admitted now.

        At least the last token is always computed, so a prompt that is here entirely has its last block recomputed.
        """
        size = self.profile.block_size
        return self.cache.match(blocks, (prompt_tokens - 1) // size) * size

    def _checked(self, now: float) -> int:
        now_ns = round(now * _NS)
        if self._step_ends is not None and now_ns > self._step_ends:
            raise ValueError(f"a step ended at {self.next_event_at()}: advance to {now} first")
        return now_ns

    # --- one step ---------------------------------------------------------------------------------------------------

    def _start_step(self, now_ns: int) -> None:
        """Choose what the next step computes, get the memory for it, and say when it ends."""
        self._scheduled = []
        preempted = self._preemptions
        budget = self._schedule_running(self.profile.token_budget)
        if preempted == self._preemptions:
            budget = self._schedule_waiting(budget)
        if not self._scheduled:
            # A lone request always fits (see `submit`), so this is an idle engine.
            assert not self._running, "a running request was not scheduled"
            assert not self._waiting, "an idle engine left its queue alone"
            self._step_ends = None
            return
        decodes = sum(self._is_decode(sequence, count) for sequence, count in self._scheduled)
        prefill_tokens = self.profile.token_budget - budget - decodes
        self._decodes_only = decodes == len(self._running)
        self._step_lasts = self._duration_ns(len(self._scheduled), prefill_tokens)
        self._step_ends = now_ns + self._step_lasts

    def _schedule_running(self, budget: int) -> int:
        size = self.profile.block_size
        index = 0
        while index < len(self._running) and budget:
            sequence = self._running[index]
            count = min(sequence.known - sequence.computed, budget)
            end = sequence.computed + count
            if end % size == 0 or end > sequence.hold.blocks * size:  # else the last block has room and stays open
                if not self._make_room(sequence, count):
                    break
                self._grow(sequence, count)
            self._scheduled.append((sequence, count))
            budget -= count
            index += 1
        return budget

    def _schedule_waiting(self, budget: int) -> int:
        size = self.profile.block_size
        while self._waiting and budget and len(self._running) < self.profile.max_batch:
            sequence = self._waiting[0]
            blocks = sequence.request.blocks
            hits = self.cache.match(blocks, (sequence.known - 1) // size)
            count = min(sequence.known - hits * size, budget)
            wanted = -(-count // size)
            if self.cache.available - self.cache.idle_among(blocks[:hits]) < wanted:
                break
            self._waiting.popleft()
            self._running.append(sequence)
            self.cache.pin(sequence.hold, blocks[:hits])
            sequence.computed = hits * size
            if sequence.cached is None:
                sequence.cached = sequence.computed
                self._prefix_queries += sequence.known
                self._prefix_hits += sequence.computed
            self._grow(sequence, count)
            self._scheduled.append((sequence, count))
            budget -= count
        return budget

    def _make_room(self, sequence: _Sequence, count: int) -> bool:
        """Preempt the newest running requests until `sequence` can get its blocks; False when it went itself."""
        while self._blocks_wanted(sequence, count) > self.cache.available:
            victim = self._running.pop()
            self.cache.release(victim.hold)
            victim.computed = 0
            self._preemptions += 1
            self._waiting.appendleft(victim)
            if victim is sequence:
                return False
        return True

    def _blocks_wanted(self, sequence: _Sequence, count: int) -> int:
        return max(0, -(-(sequence.computed + count) // self.profile.block_size) - sequence.hold.blocks)

    def _grow(self, sequence: _Sequence, count: int) -> None:
        """Give a request the blocks for `count` more tokens; those that get full are shared from now on, as in vLLM."""
        hold, blocks = sequence.hold, sequence.request.blocks
        self.cache.take(hold, self._blocks_wanted(sequence, count))
        full = min((sequence.computed + count) // self.profile.block_size, len(blocks))
        for index in range(hold.sealed, full):
            self.cache.seal(hold, blocks[index])

    def _is_decode(self, sequence: _Sequence, count: int) -> bool:
        return count == 1 and sequence.generated > 0 and sequence.computed + 1 == sequence.known

    def _duration_ns(self, requests: int, prefill_tokens: int) -> int:
        """Length of a step: a fixed part, a part per request of the batch, and the prefill at its own rate."""
        profile = self.profile
        seconds = (profile.step_base_ms + profile.step_per_request_ms * requests) / 1e3
        seconds += prefill_tokens / profile.prefill_tokens_per_s
        return max(1, round(seconds * self._slowdown * _NS))

    def _finish_step(self, leapt: int, events: list[Event]) -> None:
        """Apply the step in flight (and `leapt` equal ones before it), publish the gauges, start the next one."""
        assert self._step_ends is not None
        at = self._step_ends / _NS
        ended = False
        for sequence, count in self._scheduled:
            if sequence.aborted:
                self._let_go(sequence)
                ended = True
                continue
            sequence.computed += count
            if sequence.computed == sequence.known:
                ended |= self._emit(sequence, at, 1 + leapt, events)
        if ended:
            self._running = [sequence for sequence in self._running if not sequence.is_over]
        self._steps += 1 + leapt
        self._published = self._state()
        self._start_step(self._step_ends)

    def _emit(self, sequence: _Sequence, at: float, count: int, events: list[Event]) -> bool:
        """Give out the token just computed; True when it was the last one."""
        request = sequence.request
        cached = sequence.cached or 0
        if sequence.generated:
            events.append(Token(request.id, at, count))
        else:
            self._prompt_tokens += request.prompt_tokens
            self._cached_tokens += cached
            events.append(FirstToken(request.id, at, cached))
        sequence.generated += 1
        sequence.known += 1
        self._generation_tokens += 1
        if sequence.generated < request.output_tokens:
            return False
        self._let_go(sequence)
        del self._sequences[request.id]
        self._finished += 1
        events.append(Finished(request.id, at, Usage(request.prompt_tokens, cached, request.output_tokens)))
        return True

    def _let_go(self, sequence: _Sequence) -> None:
        self.cache.release(sequence.hold)
        sequence.is_over = True

    def _state(self) -> tuple[int, int, float, int, int, int, int, int, int, int, int, int]:
        return (
            len(self._running),
            len(self._waiting),
            self.cache.used / self.cache.capacity,
            self._prompt_tokens,
            self._cached_tokens,
            self._generation_tokens,
            self._prefix_queries,
            self._prefix_hits,
            self._preemptions,
            self._finished,
            self._aborted,
            self._steps,
        )

    # --- several equal steps at once --------------------------------------------------------------------------------

    def _leap(self, now_ns: int) -> int:
        """Let the step in flight be the last of as many equal ones as fit before `now_ns`; return how many came before.

        Only while all running requests decode, none joins or ends, and no preemption comes: then nothing that anybody
        could see differs from taking the steps one by one.
        """
        assert self._step_ends is not None
        if not self._decodes_only or (self._waiting and len(self._running) < self.profile.max_batch):
            return 0
        count = (now_ns - self._step_ends) // self._step_lasts
        for sequence in self._running:
            if sequence.aborted:
                return 0
            count = min(count, sequence.request.output_tokens - sequence.generated - 1)
        while count > 0 and self._blocks_for(count) > self.cache.available:
            count //= 2
        if count > 0:
            self._grow_by(count)
            self._step_ends += count * self._step_lasts
        return max(0, count)

    def _blocks_for(self, count: int) -> int:
        """Blocks that the running requests need for `count` tokens each, after the one in flight."""
        return sum(self._blocks_wanted(sequence, 1 + count) for sequence in self._running)

    def _grow_by(self, count: int) -> None:
        """Compute `count` tokens for each running request, crossing block borders in the order of single steps."""
        size = self.profile.block_size
        crossings: list[tuple[int, int]] = []
        for index, sequence in enumerate(self._running):
            # The token in flight is number `computed + 1`. A block gets full at a multiple of the size, and the token
            # after it needs a new one.
            for place in (0, 1):
                first = (place - sequence.computed - 1) % size or size
                crossings += [(step, index) for step in range(first, count + 1, size)]
        for step, index in sorted(crossings):
            self._grow(self._running[index], 1 + step)
        for sequence in self._running:
            sequence.computed += count
            sequence.generated += count
            sequence.known += count
        self._generation_tokens += count * len(self._running)
