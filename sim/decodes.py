"""The requests of one engine that are giving out tokens, and when each of them has to be looked at again.

Pure. All of them get one token in every step, so how far one is follows from the number of steps that have ended. It
is looked at only when it needs a block, when a block of it gets full, and when it ends; two heaps say when that is.
"""

from heapq import heappop, heappush

from sim.blocks import Hold
from sim.events import Request


class Sequence:
    """One unfinished request inside the engine. Mutable; written by the engine and by `Decodes`."""

    __slots__ = (
        "base", "cached", "chunk", "computed", "ends", "hold", "is_aborted", "is_decoding", "is_over", "known", "order",
        "request",
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        """Begin with nothing computed."""
        self.request = request
        self.hold = Hold()
        self.order = 0  # running requests are in this order; a new number with each admission
        self.known = request.prompt_tokens  # while not decoding: tokens to compute before the next one is given out
        self.computed = 0  # while not decoding: tokens whose KV is stored
        self.chunk = 0  # while not decoding: tokens that the step in flight computes
        self.is_decoding = False
        self.base = 0  # while decoding: tokens whose KV is stored = steps that have ended - base
        self.ends = 0  # while decoding: the number of ended steps with which it has all its tokens
        self.cached: int | None = None  # prompt tokens found at the first admission
        self.is_aborted = False
        self.is_over = False


_Due = tuple[int, int, Sequence]
"""Number of a step, order of admission, who. Out of date when the sequence no longer decodes under this order."""


class Decodes:
    """All decoding requests of one engine. Steps are counted from 0: step `n` starts when `n` steps have ended."""

    # What changes: the two heaps and the two sums. The single writer is the engine that owns it.
    __slots__ = ("_bases", "_block_size", "_ends", "_visits", "count")

    def __init__(self, block_size: int) -> None:
        """Start with none; `block_size` is in tokens."""
        self.count = 0
        self._bases = 0
        self._block_size = block_size
        self._visits: list[_Due] = []
        self._ends: list[_Due] = []

    def join(self, sequence: Sequence, steps: int, left: int) -> None:
        """With the end of step `steps` - 1 it got a token, and `left` more are to come."""
        sequence.is_decoding = True
        sequence.base = steps - sequence.computed
        sequence.ends = steps + left
        self.count += 1
        self._bases += sequence.base
        heappush(self._ends, (sequence.ends, sequence.order, sequence))
        self.plan(sequence)

    def leave(self, sequence: Sequence) -> None:
        """It is over or preempted."""
        sequence.is_decoding = False
        self.count -= 1
        self._bases -= sequence.base

    def context(self, step: int) -> int:
        """Tokens that all of them look at in this step, the ones computed included."""
        return self.count * (step + 1) - self._bases

    def plan(self, sequence: Sequence) -> None:
        """Note the step in which it needs its next block, or fills one that has a hash."""
        hold, size = sequence.hold, self._block_size
        at = hold.blocks * size
        sealed = hold.sealed
        if sealed < len(sequence.request.blocks):
            at = min(at, (sealed + 1) * size - 1)
        at += sequence.base
        if at < sequence.ends:
            heappush(self._visits, (at, sequence.order, sequence))

    def next_visit(self) -> int:
        """The first step in which a block is needed or gets full, of those not taken yet; it may be too early.

        Raises IndexError when nobody decodes.
        """
        return self._visits[0][0] if self._visits else self._ends[0][0]

    def take_visit(self, step: int) -> Sequence | None:
        """The next one to be looked at in `step`, in the order of admission; None after the last. `plan` it again."""
        visits = self._visits
        while visits and visits[0][0] <= step:
            _, order, sequence = heappop(visits)
            if sequence.is_decoding and sequence.order == order:
                return sequence
        return None

    def next_end(self) -> int:
        """How many steps have ended when the first of them is over. Raises IndexError when nobody decodes."""
        ends = self._ends
        while not ends[0][2].is_decoding or ends[0][2].order != ends[0][1]:
            heappop(ends)
        return ends[0][0]

    def take_ended(self, steps: int) -> list[Sequence]:
        """Those that have all their tokens when `steps` steps have ended, in the order of admission."""
        ends = self._ends
        due = []
        while ends and ends[0][0] <= steps:
            _, order, sequence = heappop(ends)
            if sequence.is_decoding and sequence.order == order:
                due.append(sequence)
        return due
