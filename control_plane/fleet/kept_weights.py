"""Learned weights as JSON values, and back: for what outlives a restart. Pure.

    value = as_json(weights.kept(), wall_s)
    kept, away_s = kept_in(value, wall_s)           # ValueError for what is none
    weights.restore(kept, rules, now, away_s)

Who fails or is slow is as it was when kvpilot is back a moment later; weights that began as configured would send it
its whole share again. After `LONGEST_S` nothing is believed any more.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import SOURCES, Kept

LONGEST_S: Final = 600.0
"""Away for longer: measurements have faded by then (`halfLife`), and pods may be others at the same addresses."""

MAX_BYTES: Final = 8 << 20
"""Of a file: 20,000 endpoints, each with its address and ten numbers."""

_VERSION: Final = 1
_DIGITS: Final = 6
"""Of a number: more than can be measured."""


def as_json(kept: Iterable[Kept], wall_s: float) -> dict[str, Any]:
    """What was learned, at a moment which was `wall_s` in Unix time."""
    rows = [
        [
            *(each.pool, each.address, each.configured, _short(each.factor)),
            {source: [_short(number) for number in seen] for source, seen in each.sums.items()},
        ]
        for each in kept
    ]
    return {"version": _VERSION, "saved_at": wall_s, "weights": rows}


def kept_in(value: Any, wall_s: float) -> tuple[tuple[Kept, ...], float]:
    """What `as_json` gave and how long ago that was, at `wall_s`; nothing where that is too long. Raises ValueError for
    anything else."""
    try:
        if value["version"] != _VERSION:
            raise ValueError(f"of another version ({value['version']!r:.20})")
        # A clock that was set back says nothing about how long ago that was.
        away_s = max(0.0, wall_s - float(value["saved_at"]))
        rows = tuple(_row(*row) for row in value["weights"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not what was expected ({type(error).__name__})") from error
    return (rows, away_s) if away_s <= LONGEST_S else ((), away_s)


def _row(pool: str, address: str, configured: int, factor: float, sums: Mapping[str, Iterable[float]]) -> Kept:
    seen = {source: Observed(*map(float, sums[source])) for source in SOURCES if source in sums}
    numbers = [number for each in seen.values() for number in each]
    if not (math.isfinite(factor) and factor > 0 and all(math.isfinite(each) and each >= 0 for each in numbers)):
        raise ValueError("its numbers are none")
    return Kept(str(pool), str(address), int(configured), float(factor), seen)


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
