"""What is open: one notice for each trouble, one word of its end."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from control_plane.notices import kinds
from control_plane.notices.board import FLAP_WINDOW_S, MAX_DOUBLINGS, MAX_KNOWN, Board
from control_plane.notices.notice import Condition, Notice
from tests.unit.control_plane.notices.making import condition

WALL = 1_700_000_000.0


class Watcher:
    """A board that is looked at. Mutable: the board, and all that it told."""

    def __init__(self, clear_s: float = 10.0) -> None:
        self.board = Board(clear_s)
        self.told: list[Notice] = []

    def look(self, at: float, *seen: Condition) -> list[Notice]:
        """One look at `at` seconds; gives what it told."""
        told = self.board.look(seen, at, WALL + at)
        self.told += told
        return told


def test_once_and_once_again_at_its_end() -> None:
    """However often it is seen, it is told once; its end counts from when it was last seen, and is told once."""
    watcher = Watcher()
    (opened,) = watcher.look(0.0, condition(facts={"serving": "v1"}))
    assert (opened.kind, opened.severity, opened.started_at, opened.ended_at) == (
        kinds.POLICY, kinds.WARNING, WALL, None,
    )  # fmt: skip
    assert opened.facts == {"serving": "v1"}
    for at in range(1, 60):
        assert watcher.look(float(at), condition()) == []
    assert watcher.look(60.0) == []
    assert watcher.look(69.9) == []
    assert [one.key for one in watcher.board.open] == [opened.key]
    (over,) = watcher.look(70.0)
    assert over.is_over
    assert over.id == opened.id
    assert over.ended_at == WALL + 60.0
    assert watcher.look(1000.0) == []
    assert watcher.board.open == ()


def test_a_kind_that_gathers() -> None:
    """What mends itself before the time of its kind is over was never there; else what was seen last counts."""
    watcher = Watcher()
    out = [condition(kinds.ENDPOINTS_OUT, summary=f"{number} out") for number in range(3)]
    assert watcher.look(0.0, out[0]) == []
    assert watcher.look(0.9) == []
    assert watcher.look(1.0, out[1]) == []
    assert watcher.board.open == ()
    (opened,) = watcher.look(2.0, out[2])
    assert opened.summary == "2 out"
    assert opened.started_at == WALL + 1.0


def test_it_gets_worse_once() -> None:
    """A higher severity is told, with what was told before; a lower one is not, and does not come back as worse."""
    watcher = Watcher()
    worse = condition(severity=kinds.CRITICAL, summary="worse")
    watcher.look(0.0, condition())
    (worsened,) = watcher.look(1.0, worse)
    assert (worsened.severity, worsened.was, worsened.summary) == (kinds.CRITICAL, kinds.WARNING, "worse")
    assert watcher.look(2.0, condition()) == []
    assert watcher.look(3.0, worse) == []
    watcher.look(4.0)
    (over,) = watcher.look(14.0)
    assert over.severity == kinds.CRITICAL
    assert over.id == worsened.id


def test_the_worst_of_several_counts() -> None:
    """Two sources, or two rows, may speak of one trouble."""
    both = (condition(severity=kinds.CRITICAL, summary="bad"), condition(summary="not so bad"))
    assert [one.summary for one in Watcher().look(0.0, *both)] == ["bad"]
    assert [one.summary for one in Watcher().look(0.0, *reversed(both))] == ["bad"]


def test_what_comes_and_goes_is_one_trouble() -> None:
    """Away for less than the wait, it goes on; soon back after its end, the wait doubles, up to a bound; after a long
    peace it is as at first."""
    watcher = Watcher()
    for at in range(0, 100, 5):
        watcher.look(float(at), *([condition()] if at % 10 == 0 else []))
    assert len(watcher.told) == 1
    now = 100.0
    waits = []
    for _ in range(MAX_DOUBLINGS + 2):
        watcher.look(now, condition())
        now += 1
        gone = now
        while not watcher.look(now):
            now += 1
        waits.append(now - gone)
        now += 1
    assert waits == [10, 20, 40, 80, 160, 160]
    watcher.look(now + FLAP_WINDOW_S, condition())
    watcher.look(now + FLAP_WINDOW_S + 1)
    assert watcher.look(now + FLAP_WINDOW_S + 11) != []


def test_after_a_restart() -> None:
    """What was open is not told again, and its end is; a kind that there is no more is forgotten."""
    watcher = Watcher()
    watcher.look(0.0, condition())
    kept = watcher.board.open
    after = Watcher()
    after.board.restore((*kept, Notice(kind="old", subject="", severity="info", summary="", started_at=0.0)), 0.0)
    assert after.board.open == kept
    assert after.look(1.0, condition()) == []
    after.look(2.0)
    (over,) = after.look(12.0)
    assert over.id == kept[0].id


def test_texts_of_others_are_bounded_and_printable() -> None:
    """Envoy's words, names from files: nothing breaks a line of the log or fills a chat."""
    (opened,) = Watcher().look(0.0, condition(summary="a\nb\x1b[31m" + "x" * 5000, facts={"error": "\r\n" * 3000}))
    assert opened.summary.startswith("a b [31mx")
    assert len(opened.summary) == 1000
    assert str(opened.facts["error"]).strip("… ") == ""


def test_bounded() -> None:
    """Beyond the bound troubles are counted only; there is room again when others are over."""
    watcher = Watcher()
    many = [condition(subject=str(number)) for number in range(MAX_KNOWN + 5)]
    assert len(watcher.look(0.0, *many)) == MAX_KNOWN
    assert watcher.board.overlooked == 5
    watcher.look(1.0)
    watcher.look(11.0)
    assert len(watcher.look(12.0, *many[-5:])) == 5


_SEEN = st.lists(
    st.tuples(
        st.floats(0.5, 20.0),  # looks are a second apart; when it began is what tells two occurrences apart
        st.sets(st.sampled_from(["a", "b", "c"])),
        st.sampled_from([kinds.POLICY, kinds.ENDPOINTS_OUT]),
        st.sampled_from(kinds.SEVERITIES),
    ),
    max_size=60,
)


@given(_SEEN, st.floats(0.0, 15.0))
def test_whatever_happens(looks: list[tuple[float, set[str], str, str]], clear_s: float) -> None:
    """Never two open notices of one key; each end follows exactly one beginning, and nothing is told of it after."""
    watcher = Watcher(clear_s)
    now = 0.0
    for pause, subjects, kind, severity in looks:
        now += pause
        watcher.look(now, *(condition(kind, subject, severity=severity) for subject in sorted(subjects)))
        keys = Counter(one.key for one in watcher.board.open)
        assert all(count == 1 for count in keys.values())
    open_ids: set[str] = set()
    ended: set[str] = set()
    for one in watcher.told:
        if one.is_over:
            assert one.id in open_ids
            open_ids.discard(one.id)
            ended.add(one.id)
            assert one.ended_at is not None
            assert one.ended_at >= one.started_at
        else:
            assert one.id not in ended
            assert bool(one.was) == (one.id in open_ids), "told again only because it got worse"
            assert not one.was or kinds.rank(one.severity) > kinds.rank(one.was)
            open_ids.add(one.id)
    assert open_ids == {one.id for one in watcher.board.open}
