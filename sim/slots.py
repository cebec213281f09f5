"""A model of an engine that works like llama.cpp's server: slots that keep their last prompt, no shared blocks.

Pure, with the methods of `sim.engine.Engine`. The rules are those of llama.cpp's `server-context.cpp`: a request goes
to the free slot whose tokens begin most like its prompt, if the common part is more than a tenth of the prompt, else to
the least recently used one; what the slot has beyond the common part is thrown away. A request that finds no free slot
waits. Each step computes one token for every answering slot, and prompts with the rest of the batch, in the order of
slots. Two slots never share memory: a prefix that all requests have is computed once per slot.

Optionally prompts are copied to main memory, those of all idle slots whenever a request begins, and come back when they
fit better than what the chosen slot has (llama.cpp: `--cache-ram`, `--cache-idle-slots`).
"""

from collections import abc, deque
from dataclasses import dataclass, replace

from sim.events import CacheEvent, Event, Finished, FirstToken, Gauges, Request, RequestTooLongError, Token, Usage
from sim.pace import NS, Row
from sim.profile import Profile
from sim.stepping import Stepping

SIMILARITY = 0.1
"""Share of the prompt that a slot must have for being chosen for it (llama.cpp: `--slot-prompt-similarity`)."""

_SAVED_BELOW = 0.5
"""A chosen slot that keeps less than this share of its tokens saves them to main memory first."""

_LOADED_FROM = 0.25
"""A prompt comes back from main memory only if at least this share of it is used."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Tokens whose KV is stored: the hashes of their whole blocks, and how many they are."""

    blocks: tuple[int, ...] = ()
    tokens: int = 0

    def common(self, blocks: abc.Sequence[int], size: int) -> int:
        """Length of the common beginning, in tokens."""
        count = 0
        for mine, other in zip(self.blocks, blocks, strict=False):
            if mine != other:
                break
            count += 1
        return count * size

    def begins(self, other: "_Kept", size: int) -> bool:
        """Whether `other` starts with all of this, answer included; never when the answer's hashes are unknown."""
        return self.common(other.blocks, size) >= self.tokens // size * size


class _Slot:
    """One slot: what it keeps, and the request that it works on."""

    __slots__ = ("cached", "chunk", "computed", "generated", "is_aborted", "kept", "request", "used")

    def __init__(self) -> None:
        self.kept = _Kept()
        self.used = -1  # counts up with each release; -1: never
        self.request: Request | None = None
        self.computed = 0
        self.cached = 0
        self.generated = 0
        self.chunk = 0
        self.is_aborted = False


class SlotEngine(Stepping):
    """One engine with `profile.max_batch` slots. Not thread-safe; the clock never goes back.

    Each slot has an equal part of the profile's memory, and a step computes at most `profile.token_budget` tokens
    (llama.cpp: `--batch-size`); `profile.ram_tokens` of prompts are kept in main memory. With blocks of one token a
    prefix is found to the token, as in the real one.
    """

    # What changes: the queue, the slots, the saved prompts, totals. Single writer: the caller.
    def __init__(self, profile: Profile, *, tokens: bool = True) -> None:
        """Start idle and cold; `tokens` as in `Engine`."""
        super().__init__(profile)
        self.slot_tokens = profile.kv_tokens // profile.max_batch
        self._wants_tokens = tokens
        self._ram_tokens = profile.ram_tokens
        self._saved: list[_Kept] = []
        self._slots = [_Slot() for _ in range(profile.max_batch)]
        self._by_id: dict[str, _Slot | Request] = {}
        self._waiting: deque[Request] = deque()
        self._releases = 0
        self._prompt_tokens = self._cached_tokens = self._generation_tokens = 0
        self._prefix_queries = self._finished = self._aborted = self._steps = 0
        self._published = Gauges()

    def __repr__(self) -> str:
        """Say what is going on."""
        return f"<SlotEngine running={self._busy} waiting={len(self._waiting)}>"

    @property
    def waiting(self) -> int:
        """Requests that no slot has taken yet."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """Requests that have been submitted and have neither finished nor been aborted."""
        return len(self._by_id)

    @property
    def _busy(self) -> int:
        return sum(slot.request is not None for slot in self._slots)

    def __contains__(self, request_id: str) -> bool:
        """Whether this request has been submitted and has neither finished nor been aborted."""
        return request_id in self._by_id

    @property
    def backlog_tokens(self) -> int:
        """Prompt tokens that unfinished requests have to compute; what waits counts in full, whichever slot it gets."""
        begun = (slot for slot in self._slots if slot.request is not None and not slot.is_aborted)
        tokens = sum(max(0, slot.request.prompt_tokens - slot.computed) for slot in begun if slot.request is not None)
        return tokens + sum(request.prompt_tokens for request in self._waiting)

    def take_cache_events(self) -> list[CacheEvent]:
        """Nothing: llama.cpp's server does not tell what its slots keep."""
        return []

    def submit(self, request: Request, now: float) -> None:
        """Queue a request at `now` (seconds). An idle engine starts a step at once.

        Raises RequestTooLongError when no slot is large enough, ValueError for an id in use or a clock that skips the
        end of a step.
        """
        now_ns = self._checked(now)
        wanted = request.prompt_tokens + request.output_tokens
        if wanted > self.slot_tokens:
            raise RequestTooLongError(f"{wanted} tokens, {self.slot_tokens} fit into a slot")
        if request.id in self._by_id:
            raise ValueError(f"request id {request.id!r} is in use")
        if not self.profile.prefix_caching:
            request = replace(request, blocks=())  # what has no name is not found again
        self._by_id[request.id] = request
        self._waiting.append(request)
        if self._step_ends is None:
            self._start_step(now_ns)

    def abort(self, request_id: str, now: float) -> bool:
        """Forget a request: no event of it follows. False when it is unknown or has ended.

        A slot is free again at the end of the step in flight. Raises ValueError for a clock that skips that end.
        """
        self._checked(now)
        found = self._by_id.pop(request_id, None)
        if found is None:
            return False
        self._aborted += 1
        if isinstance(found, Request):
            self._waiting.remove(found)
        else:
            found.is_aborted = True
        return True

    def gauges(self) -> Gauges:
        """The state at the end of the last step; `kv_usage` is the share of the memory that busy slots have filled."""
        return self._published

    def cached_tokens(self, blocks: abc.Sequence[int], prompt_tokens: int) -> int:
        """Tokens of such a prompt that would not be computed if it were admitted now (to any slot, if none is free)."""
        size = self.profile.block_size
        free = [slot for slot in self._slots if slot.request is None]
        slot = self._choose(free or self._slots, blocks, prompt_tokens)
        kept = slot.kept
        if self._swaps(slot, blocks, prompt_tokens):
            kept = self._better(kept, blocks)
        return min(kept.common(blocks, size), prompt_tokens - 1)

    # --- slots ------------------------------------------------------------------------------------------------------

    def _choose(self, slots: list[_Slot], blocks: abc.Sequence[int], prompt_tokens: int) -> _Slot:
        """The most similar slot if it is similar enough, else the least recently used one, of equals the last."""
        size = self.profile.block_size
        best, most = None, SIMILARITY * prompt_tokens
        for slot in slots:
            common = slot.kept.common(blocks, size)
            if common > most:
                best, most = slot, common
        if best is not None:
            return best
        oldest = slots[0]
        for slot in slots[1:]:
            if slot.used <= oldest.used:
                oldest = slot
        return oldest

    def _swaps(self, slot: _Slot, blocks: abc.Sequence[int], prompt_tokens: int) -> bool:
        """Whether so much of the chosen slot would be lost that main memory is asked."""
        common = slot.kept.common(blocks, self.profile.block_size)
        is_similar = common > SIMILARITY * prompt_tokens
        return bool(self._ram_tokens) and not (is_similar and common / slot.kept.tokens >= _SAVED_BELOW)

    def _launch(self, slot: _Slot, request: Request) -> None:
        if self._swaps(slot, request.blocks, request.prompt_tokens):
            self._save(slot.kept)
            better = self._better(slot.kept, request.blocks)
            if better is not slot.kept:
                self._saved.remove(better)
                slot.kept = better
            self._trim()
        common = slot.kept.common(request.blocks, self.profile.block_size)
        slot.request = request
        slot.computed = slot.cached = min(common, request.prompt_tokens - 1)
        slot.generated = slot.chunk = 0
        slot.is_aborted = False
        self._by_id[request.id] = slot
        self._prefix_queries += request.prompt_tokens
        if self._ram_tokens:
            for idle in self._slots:
                if idle.request is None:
                    self._save(idle.kept)
                    self._trim()

    def _save(self, kept: _Kept) -> None:
        """Copy a prompt to main memory, in place of those that it begins with."""
        size = self.profile.block_size
        if not kept.tokens or any(kept.begins(saved, size) for saved in self._saved):
            return
        self._saved = [saved for saved in self._saved if not saved.begins(kept, size)]
        self._saved.append(kept)

    def _trim(self) -> None:
        """The oldest prompts make room; the last one stays however long it is."""
        while len(self._saved) > 1 and sum(saved.tokens for saved in self._saved) > self._ram_tokens:
            del self._saved[0]

    def _better(self, kept: _Kept, blocks: abc.Sequence[int]) -> _Kept:
        """What the slot goes on with: a saved prompt of which more is used, in tokens and as a share of it."""
        size = self.profile.block_size
        best, tokens = kept, kept.common(blocks, size)
        share = tokens / kept.tokens if kept.tokens else 0.0
        for saved in self._saved:
            common = saved.common(blocks, size)
            used = common / saved.tokens
            if common > tokens and used > share and used >= _LOADED_FROM:
                best, tokens, share = saved, common, used
        return best

    def _release(self, slot: _Slot) -> None:
        assert slot.request is not None
        slot.kept = _Kept(slot.request.blocks[: slot.computed // self.profile.block_size], slot.computed)
        slot.request = None
        self._releases += 1
        slot.used = self._releases

    # --- steps ------------------------------------------------------------------------------------------------------

    def _start_step(self, now_ns: int) -> None:
        while self._waiting:
            free = [slot for slot in self._slots if slot.request is None]
            if not free:
                break
            request = self._waiting.popleft()
            self._launch(self._choose(free, request.blocks, request.prompt_tokens), request)
        busy = [(slot, slot.request) for slot in self._slots if slot.request is not None]
        if not busy:
            self._step_ends = None
            return
        budget = self.profile.token_budget - sum(slot.generated > 0 for slot, _ in busy)
        tokens = pairs = context = 0
        for slot, request in busy:
            if slot.generated:
                slot.chunk = 1
                context += slot.computed + 1
                continue
            slot.chunk = min(request.prompt_tokens - slot.computed, budget)
            budget -= slot.chunk
            tokens += slot.chunk
            pairs += slot.chunk * (2 * slot.computed + slot.chunk + 1) // 2
        self._step_ends = now_ns + self._pace.step(len(busy), tokens, pairs, context)

    def _finish_step(self, leapt: int, events: list[Event]) -> None:
        assert self._step_ends is not None
        at = self._step_ends / NS
        self._steps += 1 + leapt
        for slot in self._slots:
            request = slot.request
            if request is None:
                continue
            slot.computed += slot.chunk
            if slot.is_aborted:
                self._release(slot)
            elif slot.computed >= request.prompt_tokens:
                self._give_out(slot, request, at, 1 + leapt, events)
        self._published = self._state()
        self._start_step(self._step_ends)

    def _give_out(self, slot: _Slot, request: Request, at: float, count: int, events: list[Event]) -> None:
        """One token of this slot (after `count - 1` that a leap has counted already)."""
        if not slot.generated:
            self._prompt_tokens += request.prompt_tokens
            self._cached_tokens += slot.cached
            events.append(FirstToken(request.id, at, slot.cached))
        elif self._wants_tokens:
            events.append(Token(request.id, at, count))
        slot.generated += 1
        self._generation_tokens += 1
        if slot.generated == request.output_tokens:
            self._release(slot)
            del self._by_id[request.id]
            self._finished += 1
            events.append(Finished(request.id, at, Usage(request.prompt_tokens, slot.cached, request.output_tokens)))

    def _state(self) -> Gauges:
        busy = [slot for slot in self._slots if slot.request is not None]
        return Gauges(
            running=len(busy),
            waiting=len(self._waiting),
            kv_usage=sum(slot.computed for slot in busy) / self.profile.kv_tokens,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generation_tokens=self._generation_tokens,
            prefix_queries=self._prefix_queries,
            prefix_hits=self._cached_tokens,
            finished=self._finished,
            aborted=self._aborted,
            steps=self._steps,
        )

    # --- several equal steps at once --------------------------------------------------------------------------------

    def _quiet_steps(self) -> int:
        """Steps after the one in flight before which nobody ends or begins; 0 unless all slots in use are answering."""
        busy = [(slot, slot.request) for slot in self._slots if slot.request is not None]
        if (self._waiting and len(busy) < len(self._slots)) or any(
            slot.is_aborted or not slot.generated for slot, _ in busy
        ):
            return 0
        return min(request.output_tokens - slot.generated - 1 for slot, request in busy)

    def _row(self) -> Row:
        """The steps after the one in flight, while all go on."""
        computed = [slot.computed for slot in self._slots if slot.request is not None]
        return self._pace.row(len(computed), sum(computed) + 2 * len(computed))

    def _go_on(self, count: int) -> int:
        for slot in self._slots:
            if slot.request is not None:
                slot.computed += count
                slot.generated += count
                self._generation_tokens += count
        return count
