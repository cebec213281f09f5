"""Sessions as JSON values: what comes back is what was kept, and everything else is refused."""

import json
from typing import Any

import pytest

from ext_proc.core.kept_sessions import AT_ONCE, KEY_BYTES, MAX_BYTES, as_json, kept_in
from ext_proc.core.sessions import HASH_BYTES, IDLE_S, MAX_SESSIONS, Sessions, Snapshot
from ext_proc.core.slots import Slots

KEY = bytes(range(KEY_BYTES))


def table(count: int = 3) -> Snapshot:
    """So many sessions on three endpoints, used at 0, 1, 2, …; the time is 100 s."""
    slots = Slots()
    for n in range(3):
        slots.acquire(f"10.0.0.{n}:80")
    made = Sessions(slots)
    made.restore(
        ((n.to_bytes(HASH_BYTES, "big"), f"10.0.0.{n % 3}:80", max(1.0, 100.0 - n)) for n in range(count)), 100.0
    )
    return made.snapshot(100.0)


def value() -> dict[str, Any]:
    """What is kept of three, through JSON's own types."""
    loaded: dict[str, Any] = json.loads(json.dumps(as_json(table(), KEY, 1_000.0)))
    return loaded


def test_round_trip() -> None:
    """Older by the time that went by meanwhile; a clock that was set back makes nothing younger."""
    kept = kept_in(value(), 1_030.0)
    assert kept.key == KEY
    assert [(int.from_bytes(session, "big"), *rest) for session, *rest in kept.homes] == [
        (0, "10.0.0.0:80", 130.0),
        (1, "10.0.0.1:80", 129.0),
        (2, "10.0.0.2:80", 128.0),
    ]
    assert [unused for _, _, unused in kept_in(value(), 0.0).homes] == [100.0, 99.0, 98.0]


def test_what_is_old_is_left_out() -> None:
    """A picker that was away for long knows nobody; one that was away for almost as long, some."""
    assert kept_in(value(), 1_000.0 + IDLE_S).homes == ()
    assert len(kept_in(value(), 1_000.0 + IDLE_S - 98.0).homes) == 1


def test_a_full_table_fits() -> None:
    """Into the bound, and others get their turn while it is packed."""
    turns = []
    packed = as_json(table(MAX_SESSIONS), KEY, 0.0, lambda: turns.append(1))
    assert len(json.dumps(packed)) < MAX_BYTES / 2
    assert len(turns) == MAX_SESSIONS / AT_ONCE
    assert len(kept_in(packed, 0.0).homes) == MAX_SESSIONS


def test_it_does_not_name_sessions() -> None:
    """All that it has is hashes, addresses and numbers."""
    assert set(value()) == {"version", "key", "saved_at", "addresses", "hashes", "homes", "unused_s"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"key": "00"},
        {"key": "x" * 64},
        {"key": None},
        {"saved_at": float("nan")},
        {"saved_at": "never"},
        {"saved_at": 10**400},
        {"addresses": []},
        {"addresses": 5},
        {"hashes": "AAAA"},
        {"hashes": 5},
        {"homes": "A"},
        {"homes": "AAA="},
        {"unused_s": ""},
    ],
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    """In one way, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"is none|expected|version|lengths|base64|padding|buffer|hex|float"):
        kept_in({**value(), **change}, 1_000.0)


@pytest.mark.parametrize("other", [None, 1, "x", [], [1], {}])
def test_other_values_are_refused(other: Any) -> None:
    """As from another version of the program."""
    with pytest.raises(ValueError, match="not what was expected"):
        kept_in(other, 0.0)


def test_too_many_are_refused() -> None:
    """Somebody else's file."""
    large = table(MAX_SESSIONS)
    more = Snapshot({**large.rows, b"one more": next(iter(large.rows.values()))}, large.addresses, 100.0)
    with pytest.raises(ValueError, match="too long"):
        kept_in(as_json(more, KEY, 0.0), 0.0)
