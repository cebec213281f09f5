"""The order of one publisher's messages: what to apply, what to ask for again, when to forget. Pure.

    stream = KvStream(Counts(), can_replay=True)
    for action in stream.live(seq, payload, now):
        match action:
            case Apply(payload): ...
            case AskReplay(ask, start): ...
            case Clear(reason): ...

A publisher numbers its messages from 0, and begins again at 0 when its process does; PUB/SUB loses what nobody was
there for, and tells nobody. What is believed of an engine must therefore rest on every message since some point at
which nothing was believed. So:

- A hole: everything from the *last applied* message on is asked for. That message comes back first, and if it is not
  the same as before, another process answers.
- A number that goes back, or the same number with other content: another process. Everything is forgotten and asked
  for from the beginning.
- A new connection: as a hole, because the process behind it may be another one whose numbers have got ahead of ours.
  So is silence, once, because no later message shows that the last ones are missing.
- A replay that does not reach back far enough, or does not come: everything is forgotten, and what comes next is
  believed from there on. That is less than what is cached, never more. Only where it was asked for because of silence
  nothing is forgotten if it does not come: nothing speaks for a loss, and the next message shows whether there was one.
- A replay that breaks off (vLLM's socket for them drops what does not fit into it, the end included): the rest is asked
  for, as long as each time something new comes.

One stream is one data-parallel rank of one engine. `now` is in seconds of the caller's monotonic clock.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import xxhash

MAX_WAITING: Final = 2_048
"""Live messages that wait for the end of a replay: seconds of a busy engine. Beyond, the oldest are dropped, which is
one more hole."""

MAX_WAITING_BYTES: Final = 16 << 20

MAX_FRUITLESS: Final = 1
"""A hole that a replay leaves is asked about so often; if nothing new comes, it is final."""

RETRY_REPLAY_S: Final = 10.0
"""After a replay that did not come, holes are answered by forgetting for so long: each one asked for costs a wait."""


@dataclass(frozen=True, slots=True)
class Apply:
    """The next message in order."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class AskReplay:
    """Ask for all messages from the sequence number `start` on; answers carry the number `ask`.

    An earlier request whose end has not come is to be given up.
    """

    ask: int
    start: int


@dataclass(frozen=True, slots=True)
class Clear:
    """Nothing is believed any more."""

    reason: str


Action = Apply | AskReplay | Clear

RESTARTED: Final = "restarted"
LOST: Final = "lost"
UNREADABLE: Final = "unreadable"
"""Reasons for forgetting: another process; messages are lost for good; a message could not be read."""


@dataclass(slots=True)
class Counts:
    """What streams have seen. Mutable; all only grow."""

    gaps: int = 0
    repeated: int = 0
    """Messages that were known already."""
    lost: int = 0
    """Messages that never came, as far as numbers tell."""


@dataclass(slots=True)
class _Ask:
    """A replay that goes on. Mutable. `expected` is the number of its next message; None: any may be the first.

    `is_check`: nothing is known to be missing. `is_fruitful`: it has brought something new.
    """

    number: int
    expected: int | None
    is_check: bool = False
    is_fruitful: bool = False


class KvStream:
    """Mutable: what comes next, the running replay, what waits for its end. Single writer: the subscriber."""

    def __init__(self, counts: Counts, *, can_replay: bool) -> None:
        self._counts = counts
        self._asked = self._fruitless = 0
        self._can_replay = can_replay
        self._next: int | None = None
        self._proof = 0  # of the message before `_next`
        self._newest_live: int | None = None
        self._newest_proof = 0
        self._was_connected = False
        self._ask: _Ask | None = None
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._no_replay_before = float("-inf")

    def connected(self, now: float) -> list[Action]:
        """There is a connection, the first or a new one."""
        is_first, self._was_connected = not self._was_connected, True
        # What waits is of the connection before: the same process will say it again, another one never said it.
        self._stop_waiting()
        if self._may_ask(now):
            return [self._again()]
        return [] if is_first or self._next is None else self._forget(LOST)

    def quiet(self, now: float) -> list[Action]:
        """Nothing has come for a while: the last messages may have been lost, and no later one shows the hole."""
        return [self._again(is_check=True)] if self._ask is None and self._may_ask(now) else []

    def live(self, seq: int, payload: bytes, now: float) -> list[Action]:
        """A published message has come."""
        proof = _proof(payload)
        newest = self._newest_live
        if newest is not None and seq <= newest:
            if seq == newest and proof == self._newest_proof:
                self._counts.repeated += 1
                return []
            return self._restarted(seq, payload, now)
        self._newest_live, self._newest_proof = seq, proof
        if self._ask is not None:
            self._wait(seq, payload)
            return []
        return self._take(seq, payload, now)

    def replayed(self, ask: int, seq: int, payload: bytes) -> list[Action]:
        """A message has come as an answer to `AskReplay`."""
        going = self._ask
        if going is None or ask != going.number:
            return []
        if going.expected is not None and seq < going.expected:
            self._counts.repeated += 1
            return []
        if going.expected is not None and seq > going.expected:
            if going.is_fruitful:
                return [self._again()]
            self._counts.lost += seq - going.expected
            return [*self._forget(LOST), self._answered(going, seq, payload)]
        if self._next is not None and seq < self._next:
            going.expected = seq + 1
            return [] if _proof(payload) == self._proof else self._restarted_behind()
        return [self._answered(going, seq, payload)]

    def replay_ended(self, ask: int) -> list[Action]:
        """All that there was to be replayed has come."""
        going = self._ask
        if going is None or ask != going.number:
            return []
        self._ask = None
        if self._next is not None and going.expected is not None and going.expected < self._next:
            # Not even the last message that was applied: this one has not come so far yet.
            return self._restarted_behind()
        return self._drain(again=True)

    def replay_failed(self, ask: int, now: float) -> list[Action]:
        """No answer, or none that could be read, or no end."""
        going = self._ask
        if going is None or ask != going.number:
            return []
        if going.is_fruitful:
            return [self._again()]
        self._ask = None
        self._no_replay_before = now + RETRY_REPLAY_S
        is_lost = self._next is not None and not going.is_check
        return [*(self._forget(LOST) if is_lost else []), *self._drain(again=False)]

    def unreadable(self) -> list[Action]:
        """An applied message turned out to be unreadable: what it said is lost, what follows counts."""
        return [Clear(UNREADABLE)]

    def _may_ask(self, now: float) -> bool:
        return self._can_replay and now >= self._no_replay_before

    def _again(self, *, is_check: bool = False) -> AskReplay:
        """Asks from the last applied message on, or from the beginning."""
        self._asked += 1
        expected = None if self._next is None else self._next - 1
        self._ask = _Ask(self._asked, expected, is_check)
        return AskReplay(self._asked, expected or 0)

    def _take(self, seq: int, payload: bytes, now: float) -> list[Action]:
        """A message while no replay goes on."""
        if self._next is None:
            if seq == 0 or not self._may_ask(now):
                return [self._accept(seq, payload)]
        elif seq < self._next:
            self._counts.repeated += 1
            return []
        elif seq == self._next:
            return [self._accept(seq, payload)]
        else:
            self._counts.gaps += 1
            if not self._may_ask(now):
                self._counts.lost += seq - self._next
                return [*self._forget(LOST), self._accept(seq, payload)]
        self._wait(seq, payload)
        return [self._again()]

    def _restarted(self, seq: int, payload: bytes, now: float) -> list[Action]:
        """A live message of another process than before."""
        actions = self._forget(RESTARTED)
        self._stop_waiting()
        self._newest_live, self._newest_proof = seq, _proof(payload)
        return actions + self._take(seq, payload, now)

    def _restarted_behind(self) -> list[Action]:
        """Another process answers a replay: all that is known and waits was of the one before, or will be replayed."""
        actions = self._forget(RESTARTED)
        self._stop_waiting()
        self._newest_live = None
        return [*actions, self._again()]

    def _stop_waiting(self) -> None:
        self._ask = None
        self._waiting.clear()
        self._waiting_bytes = 0

    def _forget(self, reason: str) -> list[Action]:
        self._next = None
        return [Clear(reason)]

    def _answered(self, ask: _Ask, seq: int, payload: bytes) -> Apply:
        ask.expected, ask.is_fruitful = seq + 1, True
        return self._accept(seq, payload)

    def _accept(self, seq: int, payload: bytes) -> Apply:
        self._next, self._proof = seq + 1, _proof(payload)
        self._fruitless = 0
        return Apply(payload)

    def _wait(self, seq: int, payload: bytes) -> None:
        self._waiting.append((seq, payload))
        self._waiting_bytes += len(payload)
        while len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft()[1])

    def _drain(self, *, again: bool) -> list[Action]:
        """What has waited, after a replay; with `again` a hole that is still there is asked about."""
        actions: list[Action] = []
        while self._waiting:
            seq, payload = self._waiting[0]
            if again and seq > (self._next or 0) and self._fruitless < MAX_FRUITLESS:
                self._fruitless += 1
                return [*actions, self._again()]
            if self._next is not None and seq > self._next:
                self._counts.lost += seq - self._next
                actions += self._forget(LOST)
            self._waiting.popleft()
            self._waiting_bytes -= len(payload)
            if self._next is not None and seq < self._next:
                self._counts.repeated += 1
            else:
                actions.append(self._accept(seq, payload))
        return actions


def _proof(payload: bytes) -> int:
    """What tells the messages of two processes apart: each begins with the time."""
    return xxhash.xxh3_64_intdigest(payload)
