"""The order of messages: conversations with a publisher, and every kind of mishap at once."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.signals import kv_stream
from ext_proc.signals.kv_stream import (
    LOST,
    RESTARTED,
    RETRY_REPLAY_S,
    UNREADABLE,
    Action,
    Apply,
    AskReplay,
    Clear,
    Counts,
    KvStream,
)


def said(seq: int, process: str = "a") -> bytes:
    """The message of a process."""
    return f"{process}{seq}".encode()


class Play:
    """A stream and what it did."""

    def __init__(self, *, can_replay: bool = True) -> None:
        self.counts = Counts()
        self.stream = KvStream(self.counts, can_replay=can_replay)

    def live(self, *seqs: int, process: str = "a", now: float = 0.0) -> list[Action]:
        """Published messages."""
        return [action for seq in seqs for action in self.stream.live(seq, said(seq, process), now)]

    def replay(self, ask: int, *seqs: int, process: str = "a", end: bool = True) -> list[Action]:
        """The answers to a replay."""
        actions = [action for seq in seqs for action in self.stream.replayed(ask, seq, said(seq, process))]
        return actions + (self.stream.replay_ended(ask) if end else [])


def applied(*seqs: int, process: str = "a") -> list[Action]:
    """What follows from messages in order."""
    return [Apply(said(seq, process)) for seq in seqs]


def test_in_order_from_the_beginning() -> None:
    """The first message of a process needs nothing else."""
    assert Play().live(0, 1, 2) == applied(0, 1, 2)


def test_first_connection_asks_for_the_past() -> None:
    """What an engine had cached before we came is asked for, although it says nothing new."""
    play = Play()
    assert play.stream.connected(0.0) == [AskReplay(1, 0)]
    assert play.live(2) == []
    assert play.replay(1, 0, 1, 2) == applied(0, 1, 2)
    assert play.live(3) == applied(3)
    assert (play.counts.repeated, play.counts.gaps, play.counts.lost) == (1, 0, 0)


def test_late_with_a_short_memory_behind() -> None:
    """The replay begins later than the process did: what comes is believed from there on."""
    play = Play()
    assert play.live(7) == [AskReplay(1, 0)]
    assert play.replay(1, 5, 6, 7) == applied(5, 6, 7)
    assert play.live(8) == applied(8)


def test_nothing_to_replay() -> None:
    """An empty memory, asked once more: what waited is believed, and nothing is asked for again."""
    play = Play()
    assert play.live(7) == [AskReplay(1, 0)]
    assert play.live(8) == []
    assert play.replay(1) == [AskReplay(2, 0)]
    assert play.replay(2) == applied(7, 8)
    assert play.live(9) == applied(9)


def test_no_replay_to_be_had() -> None:
    """Without a replay port: believed from the first message on."""
    play = Play(can_replay=False)
    assert play.stream.connected(0.0) == []
    assert play.live(7, 8) == applied(7, 8)


def test_hole() -> None:
    """From the last message on, which proves that it is the same process; what came meanwhile is known then."""
    play = Play()
    play.live(0, 1)
    assert play.live(4) == [AskReplay(1, 1)]
    assert play.live(5, 6) == []
    assert play.replay(1, 1, 2, 3, 4, 5) == applied(2, 3, 4, 5, 6)
    assert play.live(7) == applied(7)
    assert (play.counts.gaps, play.counts.repeated, play.counts.lost) == (1, 2, 0)


def test_hole_without_replay() -> None:
    """Everything is forgotten, and what follows is believed."""
    play = Play(can_replay=False)
    play.live(0, 1)
    assert play.live(4, 5) == [Clear(LOST), *applied(4, 5)]
    assert play.counts.lost == 2


def test_hole_beyond_the_memory() -> None:
    """The replay does not reach back to what was applied."""
    play = Play()
    play.live(0, 1)
    assert play.live(9) == [AskReplay(1, 1)]
    assert play.replay(1, 5, 6, 7, 8, 9) == [Clear(LOST), *applied(5, 6, 7, 8, 9)]
    assert play.counts.lost == 4


def test_hole_in_the_replay() -> None:
    """Where it jumps, the rest is asked for again; if the hole stays, it counts from there on. No step back."""
    play = Play()
    play.live(0)
    play.live(4)
    assert play.replay(1, 0, 1, 3, 4) == [*applied(1), AskReplay(2, 1)]
    assert play.replay(2, 1, 3, 2, 4) == [Clear(LOST), *applied(3, 4)]


def test_replay_without_an_end() -> None:
    """What the publisher's socket dropped is asked for, as long as something new comes."""
    play = Play()
    play.live(0)
    play.live(9)
    assert play.replay(1, 0, 1, 2, end=False) == applied(1, 2)
    assert play.stream.replay_failed(1, 3.0) == [AskReplay(2, 2)]
    assert play.replay(2, 2, 3, end=False) == applied(3)
    assert play.stream.replay_failed(2, 6.0) == [AskReplay(3, 3)]
    assert play.stream.replay_failed(3, 9.0) == [Clear(LOST), *applied(9)]


def test_hole_after_the_replay() -> None:
    """What waited does not follow what was replayed: it is asked for, and given up when nothing new comes."""
    play = Play()
    play.live(0, 3)
    play.live(6)
    assert play.replay(1, 0, 1, 2, 3) == [*applied(1, 2, 3), AskReplay(2, 3)]
    assert play.replay(2, 3) == [Clear(LOST), *applied(6)]


def test_hole_that_hides_a_restart() -> None:
    """Another process has got ahead of our numbers: its message in the place of the last one we know gives it away."""
    play = Play()
    play.live(0, 1, 2)
    assert play.live(5, process="b") == [AskReplay(1, 2)]
    assert play.replay(1, 2, process="b", end=False) == [Clear(RESTARTED), AskReplay(2, 0)]
    assert play.replay(1, 3, process="b") == []
    assert play.replay(2, 0, 1, 2, 3, 4, 5, process="b") == applied(0, 1, 2, 3, 4, 5, process="b")
    assert play.live(6, process="b") == applied(6, process="b")


def test_restart() -> None:
    """Numbers go back: forgotten; the new process is asked for what we did not hear."""
    play = Play()
    play.live(0, 1, 2)
    assert play.live(1, process="b") == [Clear(RESTARTED), AskReplay(1, 0)]
    assert play.replay(1, 0, 1, process="b") == applied(0, 1, process="b")


def test_restart_after_one_message() -> None:
    """The same number with other content is another process, with the same content the same message."""
    play = Play()
    play.live(0)
    assert play.live(0) == []
    assert play.live(0, process="b") == [Clear(RESTARTED), *applied(0, process="b")]


def test_restart_without_replay() -> None:
    """Believed from the first message that was heard."""
    play = Play(can_replay=False)
    play.live(0, 1, 2)
    assert play.live(1, 2, process="b") == [Clear(RESTARTED), *applied(1, 2, process="b")]


def test_restart_while_a_replay_goes_on() -> None:
    """What the former process still answers is for nobody."""
    play = Play()
    play.live(0, 5)
    assert play.live(0, process="b") == [Clear(RESTARTED), *applied(0, process="b")]
    assert play.replay(1, 0, 1) == []
    assert play.live(1, process="b") == applied(1, process="b")


def test_new_connection_to_the_same_process() -> None:
    """The last message is the same, and what was missed comes with it."""
    play = Play()
    play.live(0, 1)
    assert play.stream.connected(1.0) == [AskReplay(1, 1)]
    assert play.replay(1, 1, 2) == applied(2)
    assert play.live(3) == applied(3)


def test_new_connection_to_another_process() -> None:
    """It has got beyond our numbers, or it has not come so far yet: either way it is found out."""
    play = Play()
    play.live(0, 1)
    play.stream.connected(1.0)
    assert play.replay(1) == [Clear(RESTARTED), AskReplay(2, 0)]
    assert play.replay(2, 0, process="b") == applied(0, process="b")
    assert play.stream.connected(2.0) == [AskReplay(3, 0)]
    assert play.replay(3, 0, process="c", end=False) == [Clear(RESTARTED), AskReplay(4, 0)]


def test_new_connection_without_replay() -> None:
    """Nobody can say what was missed."""
    play = Play(can_replay=False)
    play.stream.connected(0.0)
    assert play.stream.connected(1.0) == []
    play.live(3)
    assert play.stream.connected(2.0) == [Clear(LOST)]
    assert play.live(4) == applied(4)


def test_new_connection_in_a_replay() -> None:
    """It begins anew, from what was applied meanwhile."""
    play = Play()
    play.stream.connected(0.0)
    play.replay(1, 0, 1, end=False)
    assert play.stream.connected(1.0) == [AskReplay(2, 1)]
    assert play.replay(1, 2) == []
    assert play.replay(2, 1, 2) == applied(2)


def test_silence() -> None:
    """The last messages may be lost: asked about, unless a replay goes on or cannot be had."""
    play = Play()
    play.live(0, 1)
    assert play.stream.quiet(5.0) == [AskReplay(1, 1)]
    assert play.stream.quiet(5.0) == []
    assert play.replay(1, 1, 2) == applied(2)
    assert Play(can_replay=False).stream.quiet(5.0) == []


def test_replay_that_does_not_come() -> None:
    """Everything is forgotten, what waited counts; for a while holes are not asked about."""
    play = Play()
    play.live(0, 5)
    play.live(6)
    assert play.stream.replay_failed(1, 3.0) == [Clear(LOST), *applied(5, 6)]
    assert play.stream.replay_failed(1, 3.0) == []
    assert play.live(9, now=3.0 + RETRY_REPLAY_S - 0.1) == [Clear(LOST), *applied(9)]
    assert play.live(12, now=3.0 + RETRY_REPLAY_S) == [AskReplay(2, 9)]


def test_silence_that_nobody_explains() -> None:
    """A publisher without replays is silent for a while: nothing is lost until a later message shows it."""
    play = Play()
    play.live(0, 1)
    assert play.stream.quiet(5.0) == [AskReplay(1, 1)]
    assert play.stream.replay_failed(1, 8.0) == []
    assert play.live(2, now=9.0) == applied(2)
    assert play.stream.quiet(30.0) == [AskReplay(2, 2)]
    play.live(4, now=31.0)
    assert play.stream.replay_failed(2, 33.0) == [Clear(LOST), *applied(4)]


def test_first_replay_that_does_not_come() -> None:
    """There is nothing to forget."""
    play = Play()
    play.live(5)
    assert play.stream.replay_failed(1, 3.0) == applied(5)


def test_unreadable() -> None:
    """What it said is lost; what follows counts."""
    play = Play()
    play.live(0)
    assert play.stream.unreadable() == [Clear(UNREADABLE)]
    assert play.live(1) == applied(1)


@pytest.mark.parametrize(("name", "limit"), [("MAX_WAITING", 3), ("MAX_WAITING_BYTES", 6)])
def test_waiting_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    """Beyond the limit the oldest are dropped, and the hole is noticed."""
    monkeypatch.setattr(kv_stream, name, limit)
    play = Play()
    play.live(0, 2, 3, 4, 5, 6)
    assert play.replay(1, 0, 1, 2) == [*applied(1, 2), AskReplay(2, 2)]
    assert play.stream.replay_failed(2, 0.0) == [Clear(LOST), *applied(4, 5, 6)]


# --- every kind of mishap at once -------------------------------------------------------------------------------------


@dataclass
class Engine:
    """A publisher: each message stores one block or removes the oldest one; restarts; remembers a few messages."""

    memory: int
    process: int = 0
    seq: int = 0
    held: list[str] = field(default_factory=list)
    sent: list[tuple[int, bytes]] = field(default_factory=list)

    def publish(self, is_removal: bool) -> tuple[int, bytes]:
        """One more message."""
        name = f"{self.process}.{self.seq}"
        if is_removal and self.held:
            payload = f"{name} -{self.held.pop(0)}"
        else:
            payload = f"{name} +{name}"
            self.held.append(name)
        message = self.seq, payload.encode()
        self.seq += 1
        self.sent = [*self.sent, message][-self.memory :] if self.memory else []
        return message

    def restart(self) -> None:
        """Another process in its place."""
        self.process += 1
        self.seq, self.held, self.sent = 0, [], []


class World:
    """An engine, a lossy network, and a stream that believes what it hears."""

    def __init__(self, memory: int, *, can_replay: bool) -> None:
        self.engine = Engine(memory)
        self.stream = KvStream(Counts(), can_replay=can_replay)
        self.now = 0.0
        self.believed: set[str] = set()
        self.on_way: deque[tuple[int, bytes]] = deque()
        self.heard: list[tuple[int, bytes]] = []
        self.ask: AskReplay | None = None
        self.answers: deque[tuple[int, bytes] | None] = deque()

    def act(self, actions: list[Action]) -> None:
        """Does as the shell does."""
        for action in actions:
            match action:
                case Apply():
                    word = action.payload.decode().split()[1]
                    if word[0] == "+":
                        self.believed.add(word[1:])
                    else:
                        self.believed.discard(word[1:])
                case Clear():
                    self.believed.clear()
                case AskReplay():
                    self.ask = action
                    self.answers.clear()
                    asked = action.start
                    self.answers.extend(message for message in self.engine.sent if message[0] >= asked)
                    self.answers.append(None)

    def step(self, what: str) -> None:
        """One thing happens."""
        self.now += 1.0
        match what:
            case "store" | "remove":
                self.on_way.append(self.engine.publish(what == "remove"))
            case "lose" if self.on_way:
                self.on_way.popleft()
            case "repeat" if self.heard:
                self.act(self.stream.live(*self.heard[-1], self.now))
            case "repeat old" if self.heard:
                self.act(self.stream.live(*self.heard[len(self.heard) // 2], self.now))
            case "deliver" if self.on_way:
                self.deliver()
            case "restart":
                # The connection breaks with the process: what is on its way comes before the news of the next one,
                # and nothing of it afterwards.
                self.engine.restart()
                while self.on_way:
                    self.deliver()
                self.heard.clear()
                self.ask = None
                self.act(self.stream.connected(self.now))
            case "reconnect":
                self.on_way.clear()
                self.heard.clear()
                self.act(self.stream.connected(self.now))
            case "silence":
                self.act(self.stream.quiet(self.now))
            case "answer":
                self.answer()
            case "answer lost" if self.ask is not None:
                self.answers.popleft()
                if not self.answers:
                    self.break_replay()
            case "answer fails":
                self.break_replay()

    def deliver(self) -> None:
        """The next message on its way arrives."""
        message = self.on_way.popleft()
        self.heard.append(message)
        self.act(self.stream.live(*message, self.now))

    def answer(self) -> None:
        """The next answer of a replay arrives."""
        if self.ask is None:
            return
        ask = self.ask.ask
        message = self.answers.popleft()
        if message is None:
            self.ask = None
            self.act(self.stream.replay_ended(ask))
        else:
            self.act(self.stream.replayed(ask, *message))

    def break_replay(self) -> None:
        """A replay that goes on ends without its end."""
        if self.ask is not None:
            ask, self.ask = self.ask.ask, None
            self.act(self.stream.replay_failed(ask, self.now))

    def settle(self) -> None:
        """Everything on its way arrives, and one message more."""
        self.step("store")
        for _ in range(1_000):
            if self.on_way:
                self.deliver()
            elif self.ask is not None:
                self.answer()
            else:
                return
        pytest.fail("it asks without end")


HONEST = [
    "store",
    "store",
    "remove",
    *["deliver"] * 3,
    "lose",
    "repeat",
    "restart",
    "reconnect",
    "silence",
    *["answer"] * 2,
]
STEPS = st.sampled_from([*HONEST, "repeat old", "answer fails", "answer lost"])


@settings(max_examples=400)
@given(st.lists(STEPS, max_size=60), st.sampled_from([0, 1, 3, 100]), st.booleans())
def test_never_more_than_there_is(steps: list[str], memory: int, can_replay: bool) -> None:
    """Whatever is lost, repeated, restarted or not answered: once it is quiet nothing is believed that is not there."""
    world = World(memory, can_replay=can_replay)
    world.act(world.stream.connected(0.0))
    for step in steps:
        world.step(step)
    world.settle()
    assert world.believed <= set(world.engine.held)
    world.settle()
    assert world.believed <= set(world.engine.held)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(HONEST), max_size=60))
def test_all_there_is(steps: list[str]) -> None:
    """With a publisher that remembers everything and answers, everything is known in the end."""
    world = World(1_000, can_replay=True)
    world.act(world.stream.connected(0.0))
    for step in steps:
        world.step(step)
    world.settle()
    assert world.believed == set(world.engine.held)
