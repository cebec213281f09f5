"""Sessions as JSON values, and back: for what outlives a restart. Pure.

    value = as_json(sessions.snapshot(now), key, wall_s)
    kept = kept_in(value, wall_s)            # ValueError for what is none
    sessions.restore(kept.homes, now)

Sessions are kept as the keyed hashes that the table has; the key is kept with them, or nobody would be known again. So
nobody can read from it what clients call their sessions; whoever guesses a name can see whether it is among them.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ext_proc.core.sessions import HASH_BYTES, IDLE_S, MAX_SESSIONS, Snapshot

KEY_BYTES: Final = 32
"""Of the key: as many as BLAKE2's own security has."""

MAX_BYTES: Final = 4 << 20
"""Of a file: a full table has a million and the addresses of some thousand endpoints."""

AT_ONCE: Final = 4_096
"""Rows that are packed in one go, in two milliseconds: a thread that holds the interpreter longer delays picks."""

_VERSION: Final = 1
_NUMBER: Final = np.dtype("<u2")
"""Positions of addresses, of which a picker has some thousand, and seconds up to `IDLE_S`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The key, and (session, address of its home, seconds since its last use), the latest last."""

    key: bytes
    homes: tuple[tuple[bytes, str, float], ...] = ()


def as_json(snapshot: Snapshot, key: bytes, wall_s: float, rest: Any = None) -> dict[str, Any]:
    """The table at a moment which was `wall_s` in Unix time. `rest` is called after every `AT_ONCE` rows."""
    positions: dict[str, int] = {}
    hashes = bytearray()
    homes: list[int] = []
    unused: list[int] = []
    for session, address, unused_s in snapshot.homes():
        hashes += session
        homes.append(positions.setdefault(address, len(positions)))
        unused.append(min(int(unused_s), int(IDLE_S)))
        if rest is not None and not len(homes) % AT_ONCE:
            rest()
    return {
        "version": _VERSION,
        "key": key.hex(),
        "saved_at": wall_s,
        "addresses": list(positions),
        "hashes": b64encode(hashes).decode(),
        "homes": _packed(homes),
        "unused_s": _packed(unused),
    }


def kept_in(value: Any, wall_s: float) -> Kept:
    """What `as_json` gave, at `wall_s`; without what was not used for too long. Raises ValueError for anything else."""
    try:
        return _kept_in(value, wall_s)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"not what was expected ({type(error).__name__})") from error


def _kept_in(value: Mapping[str, Any], wall_s: float) -> Kept:
    if value["version"] != _VERSION:
        raise ValueError(f"of another version ({value['version']!r:.20})")
    key, saved_at = bytes.fromhex(value["key"]), float(value["saved_at"])
    hashes, homes, unused = b64decode(value["hashes"]), _unpacked(value["homes"]), _unpacked(value["unused_s"])
    addresses = [str(address) for address in value["addresses"]]
    if len(key) != KEY_BYTES or not math.isfinite(saved_at):
        raise ValueError("its key or its time is none")
    if not len(hashes) == HASH_BYTES * len(homes) == HASH_BYTES * len(unused) or len(homes) > MAX_SESSIONS:
        raise ValueError("its parts are of different lengths, or too long")
    # A clock that was set back says nothing about how long ago that was.
    away_s = max(0.0, wall_s - saved_at)
    rows = (
        (hashes[HASH_BYTES * n : HASH_BYTES * (n + 1)], addresses[home], seconds + away_s)
        for n, (home, seconds) in enumerate(zip(homes, unused, strict=True))
    )
    return Kept(key, tuple(row for row in rows if row[2] <= IDLE_S))


def _packed(numbers: list[int]) -> str:
    return b64encode(np.array(numbers, dtype=_NUMBER).tobytes()).decode()


def _unpacked(text: str) -> list[int]:
    numbers: list[int] = np.frombuffer(b64decode(text), dtype=_NUMBER).tolist()
    return numbers
