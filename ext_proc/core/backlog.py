"""What stands before the next prompt of each endpoint, in milliseconds of prefill, between what is known for sure.

First tokens become known up to some hundred milliseconds late, longer than short prompts take, so an account of what
has no first token yet holds much that is done. Here every request has a moment at which its first token is due; what is
due after now is still to be done. When a first token becomes known, all that was due behind it moves by as much as it
was late or early. An endpoint that owes first tokens for longer than `GRACE_MS` of work cannot explain is behind.
"""

import numpy as np

from ext_proc.core.slots import FloatArray, IntArray, grown

# What may be taken for done without being known: the access log tells first tokens every 250 ms, so half of that in the
# mean. Between 100 and 300 in a prototype; not tuned on the final form.
GRACE_MS = 150.0

# Less than this is what sums of floats leave of work that is gone: an hour of prefill rounds to a thousandth of it. No
# request would find nothing before it where that stood, and only such requests teach how fast an endpoint is.
DUST_MS = 1e-6


class Backlog:
    """The account, by slot.

    Mutable: all arrays; `enter`, `answered`, `leave` and `grow` are the writers, `Ledger` their only caller.
    """

    def __init__(self, capacity: int) -> None:
        """Start with nothing to do."""
        self._unknown_ms = np.zeros(capacity)
        self._pending_ms = np.zeros(capacity)
        self._due_at = np.zeros(capacity)
        self._entered_ms = np.zeros(capacity)
        self._known_ms = np.zeros(capacity)

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._due_at):
            for name, array in vars(self).items():
                if isinstance(array, np.ndarray):
                    setattr(self, name, grown(array, capacity, 0.0))

    def wait_ms(self, slots: IntArray, now: float) -> FloatArray:
        """Work before a prompt that comes now."""
        due_ms = (self._due_at[slots] - now) * 1e3
        np.minimum(due_ms, self._pending_ms[slots], out=due_ms)
        np.maximum(due_ms, self._unknown_ms[slots] - GRACE_MS, out=due_ms)
        return np.maximum(due_ms, 0.0, out=due_ms)

    def owed_ms(self, slots: IntArray) -> FloatArray:
        """Work of which no first token is known, whatever may have become of it."""
        owed: FloatArray = self._unknown_ms[slots]
        return owed

    def owed_at(self, slot: int) -> float:
        """`owed_ms` of one slot."""
        return float(self._unknown_ms[slot])

    def left_ms(self, slot: int, now: float) -> float:
        """Work that is due after now."""
        return min(float(self._pending_ms[slot]), max(0.0, (float(self._due_at[slot]) - now) * 1e3))

    def enter(self, slot: int, at: float, work_ms: float, step_ms: float) -> tuple[float, float]:
        """A request joins the line; returns when its first token is due, and its place in the line."""
        left = self.left_ms(slot, at)
        self._pending_ms[slot] = left + work_ms
        self._due_at[slot] = due_at = at + (left + work_ms + step_ms) / 1e3
        self._entered_ms[slot] += work_ms
        self._unknown_ms[slot] += work_ms
        return due_at, float(self._entered_ms[slot])

    def answered(self, slot: int, at: float, due_at: float, place: float) -> None:
        """The first token of the request that had this place came at `at`."""
        if place > self._known_ms[slot]:
            self._known_ms[slot] = place
            self._pending_ms[slot] = min(float(self._pending_ms[slot]), float(self._entered_ms[slot]) - place)
            self._due_at[slot] += at - due_at

    def leave(self, slot: int, work_ms: float, *, is_done: bool) -> None:
        """A request has left the line: answered, or (not done) given up or moved elsewhere."""
        unknown = float(self._unknown_ms[slot]) - work_ms
        self._unknown_ms[slot] = unknown = unknown if unknown > DUST_MS else 0.0
        pending = float(self._pending_ms[slot])
        self._pending_ms[slot] = min(unknown, pending if is_done else max(0.0, pending - work_ms))

    def reset(self, slot: int) -> None:
        """Empties the line of an endpoint that left."""
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array[slot] = 0.0
