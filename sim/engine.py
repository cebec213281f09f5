"""A model of one inference engine that works like vLLM V1: continuous batching, chunked prefill, a prefix cache.

Pure: the clock is an argument (seconds, any origin), nothing here waits. One *step* computes some tokens of every
running request; all effects of a step (tokens, gauges, freed memory) appear at its end. Example:

    engine = Engine(Profile())
    engine.submit(Request("a", blocks=(), prompt_tokens=100, output_tokens=2), now=0.0)
    while (at := engine.next_event_at()) is not None:
        events = engine.advance(at)

Scheduling follows vLLM's V1 scheduler: running requests first, in order of admission, then waiting ones, first come
first served; each step has a token budget that decodes and prefill chunks share; a waiting request is admitted when
its whole prompt would fit (vLLM: `scheduler_reserve_full_isl`, the default); a request that cannot get a block makes
the newest running one give all of its blocks back and start over (preemption), at the head of the queue.

Fast by what it does not do: the budget covers one token for each of the largest batch, and only the newest running
request can be in the middle of its prompt, so every decoding request gets one token in every step, and nothing has to
be done for it in most of them (`sim.decodes`).
"""

from collections import abc, deque
from dataclasses import replace
from operator import attrgetter

from sim.blocks import BlockCache
from sim.decodes import Decodes, Sequence
from sim.events import CacheEvent, Event, Finished, FirstToken, Gauges, Request, RequestTooLongError, Token, Usage
from sim.pace import NS, Row
from sim.profile import DEMO, Profile
from sim.stepping import Stepping
from sim.telling_cache import TellingCache

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


class Engine(Stepping):
    """One engine. Not thread-safe; every method is called with a clock that never goes back."""

    # What changes: the queue, the running list, totals. Single writer: the caller.
    def __init__(self, profile: Profile = DEMO, *, tokens: bool = True, cache_events: bool = False) -> None:
        """Start idle and cold. Without `tokens` there are no `Token` events, most of what a long replay would cost.

        With `cache_events` it also keeps, until `take_cache_events`, what got into its prefix cache and what left it.
        """
        super().__init__(profile)
        self._telling = TellingCache(profile.kv_blocks) if cache_events else None
        self.cache = BlockCache(profile.kv_blocks) if self._telling is None else self._telling
        self._wants_tokens = tokens
        self._sequences: dict[str, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._admissions = 0
        self._prefills: list[Sequence] = []
        self._prefill_tokens = self._pairs = 0
        self._decodes = Decodes(profile.block_size)
        self._aborting: list[Sequence] = []
        self._is_blocked = False
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

    def __contains__(self, request_id: str) -> bool:
        """Whether this request has been submitted and has neither finished nor been aborted."""
        return request_id in self._sequences

    @property
    def backlog_tokens(self) -> int:
        """Tokens that unfinished requests have to compute before their next one, apart from decodes.

        What waits counts without what is cached for it at this moment; the chunks of the step in flight count in full.
        """
        size = self.profile.block_size
        tokens = sum(s.known - s.computed for s in self._prefills if not s.is_aborted)
        for sequence in self._waiting:
            tokens += sequence.known - self.cache.match(sequence.request.blocks, (sequence.known - 1) // size) * size
        return tokens

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
        if not self.profile.prefix_caching:
            request = replace(request, blocks=())  # what has no name is neither found nor kept
        sequence = Sequence(request)
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
        sequence.is_aborted = True
        self._aborted += 1
        if sequence in self._waiting:
            self._waiting.remove(sequence)
            self._is_blocked = False
        else:
            self._aborting.append(sequence)
        return True

    def gauges(self) -> Gauges:
        """What `/metrics` shows: the state at the end of the last step."""
        return Gauges(*self._published)

    def cached_tokens(self, blocks: abc.Sequence[int], prompt_tokens: int) -> int:
        """Tokens of such a prompt that would not be computed if it were admitted now.

        At least the last token is always computed, so a prompt that is here entirely has its last block recomputed.
        """
        size = self.profile.block_size
        return self.cache.match(blocks, (prompt_tokens - 1) // size) * size

    def take_cache_events(self) -> list[CacheEvent]:
        """What changed in the prefix cache by the end of the last step, in order; each change is told once.

        As vLLM V1 publishes it (`update_from_output` of its scheduler): one batch at the end of each step, full blocks
        only, evictions when the memory is used again.
        """
        return [] if self._telling is None else self._telling.take_told()

    # --- the start of a step ----------------------------------------------------------------------------------------

    def _start_step(self, now_ns: int) -> None:
        """Choose what the next step computes, get the memory for it, and say when it ends."""
        self._prefills = []
        self._prefill_tokens = self._pairs = 0
        self._is_blocked = False
        preempted = self._preemptions
        self._visit_decodes()
        self._continue_prefill()
        if self._waiting and preempted == self._preemptions:
            self._admit()
        if not self._running:
            # A lone request always fits (see `submit`), so this is an idle engine.
            assert not self._waiting, "an idle engine left its queue alone"
            self._step_ends = None
            return
        context = self._decodes.context(self._steps)
        self._step_ends = now_ns + self._pace.step(len(self._running), self._prefill_tokens, self._pairs, context)

    def _visit_decodes(self) -> None:
        """Give their blocks to the decoding requests that need one now, and share those that get full."""
        step = self._steps
        while (sequence := self._decodes.take_visit(step)) is not None:
            end = step - sequence.base + 1
            if self._make_room(sequence, end):
                self._grow(sequence, end)
                self._decodes.plan(sequence)

    def _continue_prefill(self) -> None:
        """Compute more of the prompt that did not fit into the budget of the last step; only the newest can be it."""
        if len(self._running) == self._decodes.count:
            return
        sequence = self._running[-1]
        count = min(sequence.known - sequence.computed, self.profile.token_budget - self._decodes.count)
        if self._make_room(sequence, sequence.computed + count):
            self._prefill(sequence, count)

    def _admit(self) -> None:
        """Let waiting requests in, first come first served, while budget, batch and memory last."""
        profile, cache, size = self.profile, self.cache, self.profile.block_size
        budget = profile.token_budget - self._decodes.count - self._prefill_tokens
        while self._waiting and budget and len(self._running) < profile.max_batch:
            sequence = self._waiting[0]
            blocks = sequence.request.blocks
            hits = cache.match(blocks, (sequence.known - 1) // size)
            wanted = -(-sequence.known // size) - hits
            if wanted > cache.available or wanted > cache.available - cache.idle_among(blocks[:hits]):
                self._is_blocked = True
                break
            self._waiting.popleft()
            self._running.append(sequence)
            self._admissions += 1
            sequence.order = self._admissions
            cache.pin(sequence.hold, blocks[:hits])
            sequence.computed = hits * size
            if sequence.cached is None:
                sequence.cached = sequence.computed
                if profile.prefix_caching:
                    self._prefix_queries += sequence.known
                self._prefix_hits += sequence.computed
            count = min(sequence.known - sequence.computed, budget)
            self._prefill(sequence, count)
            budget -= count

    def _prefill(self, sequence: Sequence, count: int) -> None:
        start = sequence.computed
        self._grow(sequence, start + count)
        sequence.chunk = count
        self._prefills.append(sequence)
        self._prefill_tokens += count
        self._pairs += count * (2 * start + count + 1) // 2

    def _make_room(self, sequence: Sequence, end: int) -> bool:
        """Preempt the newest running requests until `sequence` can hold `end` tokens; False when it went itself."""
        while -(-end // self.profile.block_size) - sequence.hold.blocks > self.cache.available:
            victim = self._running.pop()
            self.cache.release(victim.hold)
            if victim.is_decoding:
                victim.known = self._steps - victim.base + 1
                self._decodes.leave(victim)
            victim.computed = 0
            self._preemptions += 1
            self._waiting.appendleft(victim)
            if victim is sequence:
                return False
        return True

    def _grow(self, sequence: Sequence, end: int) -> None:
        """Give a request the blocks for `end` tokens; those that get full are shared from now on, as in vLLM."""
        hold, blocks, size = sequence.hold, sequence.request.blocks, self.profile.block_size
        wanted = -(-end // size) - hold.blocks
        if wanted > 0:
            self.cache.take(hold, wanted)
        full = min(end // size, len(blocks))
        for index in range(hold.sealed, full):
            self.cache.seal(hold, blocks[index])

    # --- the end of a step ------------------------------------------------------------------------------------------

    def _finish_step(self, leapt: int, events: list[Event]) -> None:
        """Apply the step in flight (and `leapt` equal ones before it), publish the gauges, start the next one."""
        assert self._step_ends is not None
        at = self._step_ends / NS
        steps = 1 + leapt
        self._steps += steps
        self._generation_tokens += self._decodes.count * steps
        ended = False
        for sequence in self._touched():
            if sequence.is_aborted:
                self._generation_tokens -= sequence.is_decoding
                self._let_go(sequence)
                ended = True
            elif sequence.is_decoding:
                if self._wants_tokens:
                    events.append(Token(sequence.request.id, at, steps))
                if sequence.ends == self._steps:
                    self._end(sequence, at, events)
                    ended = True
            else:
                sequence.computed += sequence.chunk
                if sequence.computed == sequence.known:
                    ended |= self._first_token(sequence, at, events)
        self._aborting.clear()
        if ended:
            self._running = [sequence for sequence in self._running if not sequence.is_over]
        self._published = self._state()
        if self._telling is not None:
            self._telling.tell(at)
        self._start_step(self._step_ends)

    def _touched(self) -> list[Sequence]:
        """Requests of which more is to be told than one token, in the order of admission; all when tokens are told."""
        due = self._decodes.take_ended(self._steps)
        if self._wants_tokens:
            return self._running
        if self._aborting:
            due = [sequence for sequence in due if not sequence.is_aborted]
            due += [sequence for sequence in self._aborting if sequence not in self._prefills]
            due.sort(key=attrgetter("order"))
        return due + self._prefills

    def _first_token(self, sequence: Sequence, at: float, events: list[Event]) -> bool:
        """Give out the token after the last one of the prompt (or of what a preemption took); True when it was all."""
        request = sequence.request
        cached = sequence.cached or 0
        if sequence.known > request.prompt_tokens:
            if self._wants_tokens:
                events.append(Token(request.id, at, 1))
        else:
            self._prompt_tokens += request.prompt_tokens
            self._cached_tokens += cached
            events.append(FirstToken(request.id, at, cached))
        self._generation_tokens += 1
        sequence.known += 1
        left = request.prompt_tokens + request.output_tokens - sequence.known
        if not left:
            self._end(sequence, at, events)
            return True
        self._decodes.join(sequence, self._steps, left)
        return False

    def _end(self, sequence: Sequence, at: float, events: list[Event]) -> None:
        request = sequence.request
        self._let_go(sequence)
        del self._sequences[request.id]
        self._finished += 1
        usage = Usage(request.prompt_tokens, sequence.cached or 0, request.output_tokens)
        events.append(Finished(request.id, at, usage))

    def _let_go(self, sequence: Sequence) -> None:
        self.cache.release(sequence.hold)
        sequence.is_over = True
        if sequence.is_decoding:
            self._decodes.leave(sequence)

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

    def _quiet_steps(self) -> int:
        """How many steps after the one in flight can start before anybody ends or joins, if memory lasts.

        Only while all running requests decode: then nothing that anybody could see differs from taking the steps one
        by one. A waiting request that lacks memory has no better chance before the next block is taken or filled.
        """
        if self._prefills or self._aborting:
            return 0
        count = self._decodes.next_end() - self._steps - 1
        if self._waiting and len(self._running) < self.profile.max_batch:
            if not self._is_blocked:
                return 0
            count = min(count, self._decodes.next_visit() - self._steps - 1)
        return count

    def _row(self) -> Row:
        """The steps after the one in flight, while all decode on."""
        return self._pace.row(self._decodes.count, self._decodes.context(self._steps + 1))

    def _certain_steps(self) -> int:
        count = self._quiet_steps()
        if count > 0 and self._decodes.count * (count // self.profile.block_size + 1) > self.cache.available:
            # A preemption may come, and it makes the later steps shorter: not beyond the next need of a block.
            count = min(count, self._decodes.next_visit() - self._steps - 1)
        return count

    def _go_on(self, count: int) -> int:
        """Do the visits of `count` further steps in their order; return how many steps memory lasts."""
        size, last = self.profile.block_size, self._steps + count
        self._tell_step(self._steps)
        while self._decodes.next_visit() <= last:
            step = self._decodes.next_visit()
            group = []
            wanted = 0
            while (sequence := self._decodes.take_visit(step)) is not None:
                group.append(sequence)
                wanted += step - sequence.base + 1 > sequence.hold.blocks * size
            if wanted > self.cache.available:
                for sequence in group:
                    self._decodes.plan(sequence)
                return step - self._steps - 1
            for sequence in group:
                self._grow(sequence, step - sequence.base + 1)
                self._decodes.plan(sequence)
            self._tell_step(step)
        return count

    def _tell_step(self, step: int) -> None:
        """Tell what changed in the cache when `step` started, at its end, where anybody wants to know."""
        if self._telling is not None:
            assert self._step_ends is not None
            after = step - self._steps
            self._telling.tell((self._step_ends + (self._row().total(after) if after else 0)) / NS)
