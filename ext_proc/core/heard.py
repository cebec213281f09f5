"""What endpoints told about themselves: of every number the newest, how old it is, and where it came from.

Numbers come from sides that know nothing of each other: the picker asks (`scrape`), an endpoint reports unasked
(`report`), an answer carries them (`orca`), events of the prefix cache add up to one (`events`). Of each number the
newest counts, whoever told it. All are dated by their arrival on the picker's own clock, so nobody can claim to be
newer than he is.

A number is *fresh* for as long as its source may be silent without anything being amiss: `MISSED` times the interval at
which the endpoint is really heard by it. A thousand endpoints are asked every 4 s each, a few every 0.2 s; what would
be old news of the few is the best there is of the many. Then it loses weight (`ext_proc.core.gauges`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["scrape", "report", "orca", "events"]
"""Where a number came from."""

MISSED = 2
"""Intervals without a word that are no silence yet: one message may be lost."""

MIN_FRESH_S = 1.0
"""Five scrape intervals (200 ms): whoever is heard this often may still pause for as long as a busy step takes."""

MAX_FRESH_S = 30.0
"""Whoever was not heard for so long is silent, however seldom he speaks: a queue of half a minute ago is history."""


@dataclass(frozen=True, slots=True)
class Told:
    """One number of one endpoint: its value, when it was told, by whom."""

    value: Any
    at: float
    source: Source


@dataclass(slots=True)
class _Rhythm:
    """Mutable: when a source was last heard, and how long it was silent before that, and before that."""

    at: float = -math.inf
    gap_s: float = math.inf
    before_s: float = math.inf
    interval_s: float | None = None
    """What it said itself."""

    def hear(self, at: float, interval_s: float | None) -> None:
        if at > self.at:
            self.before_s, self.gap_s, self.at = self.gap_s, at - self.at, at
        self.interval_s = interval_s

    @property
    def fresh_s(self) -> float:
        # The shorter of two silences: an outage is one long silence, a slower rhythm is two.
        usual = min(self.gap_s, self.before_s) if self.interval_s is None else self.interval_s
        return min(max(MISSED * usual, MIN_FRESH_S), MAX_FRESH_S) if math.isfinite(usual) else MIN_FRESH_S


class Heard:
    """Mutable: the numbers and rhythms by slot; `take` and `reset` are the writers."""

    def __init__(self) -> None:
        self._told: dict[int, dict[str, Told]] = {}
        self._rhythms: dict[int, dict[Source, _Rhythm]] = {}

    def take(
        self, slot: int, source: Source, at: float, numbers: Mapping[str, Any], interval_s: float | None = None
    ) -> dict[str, Any]:
        """Those of `numbers` that are news. `interval_s` is when the source will be heard again, if it said so.

        What is as old as the known one counts as newer: it came later.
        """
        told = self._told.setdefault(slot, {})
        news = {name: value for name, value in numbers.items() if name not in told or told[name].at <= at}
        for name, value in news.items():
            told[name] = Told(value, at, source)
        self._rhythms.setdefault(slot, {}).setdefault(source, _Rhythm()).hear(at, interval_s)
        return news

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._told.pop(slot, None)
        self._rhythms.pop(slot, None)

    def fresh_s(self, slot: int, source: Source) -> float:
        """For how many seconds a number from there is as good as new."""
        rhythm = self._rhythms.get(slot, {}).get(source)
        return MIN_FRESH_S if rhythm is None else rhythm.fresh_s

    def told(self, slot: int) -> Mapping[str, Told]:
        """The newest of every number, by name."""
        return self._told.get(slot, {})

    def age_s(self, slot: int, source: Source, now: float) -> float | None:
        """Seconds since a source was heard; None if it never was."""
        rhythm = self._rhythms.get(slot, {}).get(source)
        return None if rhythm is None else max(0.0, now - rhythm.at)

    def status(self, slot: int, now: float) -> dict[str, dict[str, Any]]:
        """JSON values by number: `value`, `age_s`, `source`."""
        return {
            name: {"value": told.value, "age_s": round(max(0.0, now - told.at), 3), "source": told.source}
            for name, told in sorted(self.told(slot).items())
        }
