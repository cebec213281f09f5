"""A round in slices: nobody is left out, the newest counts, and others on the event loop have their turn."""

import asyncio

import pytest

from control_plane.xds import slices
from control_plane.xds.slices import SLICE, Slices


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two."""
    monkeypatch.setattr(slices, "SLICE", 2)


class Given:
    """Who was given what. Mutable: the list; and what is to happen when somebody is served."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int]] = []
        self.slices = Slices[str, int](self._give)

    def _give(self, key: str, value: int) -> None:
        self.all.append((key, value))
        if key == "bad":
            raise RuntimeError("cannot be served")
        if key == "again" and value == 1:
            self.slices.put("again", 2)
            self.slices.begin()

    def put(self, keys: str, value: int) -> None:
        """The same for each of these letters."""
        for key in keys:
            self.slices.put(key, value)
        self.slices.begin()


def at(keys: str, value: int) -> list[tuple[str, int]]:
    """What they should have been given."""
    return [(key, value) for key in keys]


async def turn() -> None:
    """One turn of the event loop."""
    await asyncio.sleep(0)


async def test_others_have_their_turn() -> None:
    """A slice at once, and one with each turn of the loop."""
    given, seen = Given(), []
    given.put("abcde", 1)
    assert given.all == at("ab", 1)
    for _ in range(3):
        await turn()
        seen.append(len(given.all))
    assert seen == [4, 5, 5]
    assert given.all == at("abcde", 1)


def test_a_small_round_needs_no_loop() -> None:
    """It is done at once, as if there were no slices."""
    given = Given()
    given.put("ab", 1)
    assert given.all == at("ab", 1)


async def test_the_newest_counts() -> None:
    """A round in a round: who waits is given the newest alone, in his turn; who was served is served again."""
    given = Given()
    given.put("abcd", 1)
    given.put("abcd", 2)
    assert given.all == at("ab", 1), "the round goes on when the loop has its turn"
    await turn()
    assert given.all == [*at("ab", 1), *at("cd", 2)]
    await turn()
    assert given.all == [*at("ab", 1), *at("cdab", 2)]


async def test_nobody_starves() -> None:
    """With something new in every turn the last ones are served as well."""
    given = Given()
    for value in range(5):
        given.put("abcdef", value)
        await turn()
    assert {key for key, _ in given.all} == set("abcdef")


async def test_one_who_begins_again() -> None:
    """Whoever is served may put another value: it comes in the same round, and nothing is done within."""
    given = Given()
    given.slices.put("again", 1)
    given.put("ab", 1)
    assert given.all == [("again", 1), ("a", 1)]
    await turn()
    assert given.all == [("again", 1), ("a", 1), ("b", 1), ("again", 2)]


async def test_one_who_cannot_be_served() -> None:
    """Whoever asked is told, and the others get theirs."""
    given = Given()
    for key in ("bad", "a", "b"):
        given.slices.put(key, 1)
    with pytest.raises(RuntimeError, match="cannot be served"):
        given.slices.begin()
    await turn()
    assert given.all == [("bad", 1), *at("ab", 1)]


async def test_one_who_has_gone() -> None:
    """It is given nothing any more; dropping one who does not wait is harmless."""
    given = Given()
    given.put("abc", 1)
    given.slices.drop("c")
    given.slices.drop("a")
    await turn()
    assert given.all == at("ab", 1)


async def test_stop() -> None:
    """The round ends, and another can begin."""
    given = Given()
    given.put("abcdef", 1)
    given.slices.stop()
    await turn()
    await turn()
    assert given.all == at("ab", 1)
    given.put("c", 2)
    assert given.all == [*at("ab", 1), ("c", 2)]
    given.slices.stop()


def test_a_slice_is_short() -> None:
    """A few milliseconds: as many streams as that allows."""
    assert 1 <= SLICE <= 64
