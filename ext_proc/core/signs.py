"""What engines tell of themselves, read as evidence of how they are: findings for `ext_proc.core.verdicts`.

- *kv-memory*: bad from `max_kv_usage` on, good again `KV_SLACK` below it; in between it says nothing.
- *progress*: bad while requests run and no token was computed for `stuck_s`, as the engine's own counters say. A token
  that arrives refutes it, whatever the counters say.
- *scrapes*: a page that could be read before, and cannot be read now. An engine that never told anything is not judged
  by that, and answers to requests take it back: the page is broken then, and not the engine.
- *heartbeat*: nothing was heard for `heartbeat_s` of an engine that tells of itself (is scraped or reports). Answers
  and good probes are a sign of life, too. After a time in which this process did not run nobody was silent.
- *probe*: it was asked whether it is ready, and is not; that nobody listens needs no repetition.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ext_proc.core.events import LoadReported, Probed, Scraped
from ext_proc.core.settings import HealthSettings
from ext_proc.core.verdicts import Finding

KV_SLACK = 0.05
"""An engine at its limit preempts and admits in turn; this is some requests' memory."""

MISSED = 3
"""Reports that may fail to come: with fewer, one that is late would be silence."""

ASLEEP_S = 5.0
"""Who looks once a second and comes so late was stopped meanwhile, and heard nobody."""

MAX_REASON = 200
"""Characters of a reason, which may hold words of the engine's."""


@dataclass(slots=True)
class _Heard:
    """What an endpoint told. Mutable: `Signs` writes."""

    at: float
    interval_s: float = 0.0
    """At which it reports, if it said so."""
    is_scraped: bool = False
    tokens: int = -1
    moved_at: float = -math.inf


class Signs:
    """Mutable: what was heard of each slot, and when the clock was looked at; the picker is the only writer."""

    def __init__(self) -> None:
        self._heard: dict[int, _Heard] = {}
        self._looked_at = -math.inf

    def told(self, slot: int, event: Scraped | LoadReported, settings: HealthSettings) -> Iterator[Finding]:
        """An engine told its numbers."""
        is_own = isinstance(event, Scraped) or event.source == "report"
        heard = self._heard.get(slot)
        if heard is None:
            if not is_own:
                return
            heard = self._heard[slot] = _Heard(event.at)
        heard.at = max(heard.at, event.at)
        yield Finding("heartbeat", is_bad=False)
        if settings.max_kv_usage is not None and event.kv_usage is not None:
            if event.kv_usage >= settings.max_kv_usage:
                yield Finding("kv-memory", is_bad=True, why=f"{event.kv_usage:.0%} of its KV memory is used")
            elif event.kv_usage < settings.max_kv_usage - KV_SLACK:
                yield Finding("kv-memory", is_bad=False)
        if isinstance(event, Scraped):
            heard.is_scraped = True
            yield Finding("scrapes", is_bad=False)
            if settings.stuck_s is not None and event.generation_tokens is not None:
                yield _progress(heard, event, settings.stuck_s)
        elif event.interval_s is not None:
            heard.interval_s = event.interval_s

    def unread(self, slot: int, reason: str, settings: HealthSettings) -> Iterator[Finding]:
        """An engine's numbers could not be read."""
        heard = self._heard.get(slot)
        if heard is not None and heard.is_scraped and settings.scrapes:
            yield Finding("scrapes", is_bad=True, why=f"its metrics cannot be read: {_printable(reason)}")

    def answered(self, slot: int, at: float) -> Iterator[Finding]:
        """A token, or a whole good answer, came from there."""
        heard = self._heard.get(slot)
        if heard is not None:
            heard.at = max(heard.at, at)
            heard.moved_at = max(heard.moved_at, at)
        for sign in ("heartbeat", "progress", "scrapes"):
            yield Finding(sign, is_bad=False)

    def probed(self, slot: int, event: Probed) -> Iterator[Finding]:
        """An engine was asked whether it is ready."""
        if event.fault:
            why = f"it is not ready: {_printable(event.fault)}"
            yield Finding("probe", is_bad=True, why=why, is_hard=event.is_refused)
            return
        heard = self._heard.get(slot)
        if heard is not None:
            heard.at = max(heard.at, event.at)
        yield Finding("probe", is_bad=False)
        yield Finding("heartbeat", is_bad=False)

    def silent(self, now: float, limits_s: dict[int, float]) -> Iterator[tuple[int, Finding]]:
        """Those of whom nothing was heard for longer than their limit; to be asked about once a second."""
        was_stopped = now - self._looked_at > ASLEEP_S
        self._looked_at = now
        for slot, heard in self._heard.items():
            if was_stopped:
                heard.at = now
                heard.moved_at = max(heard.moved_at, now)
            limit_s = limits_s.get(slot)
            age_s = now - heard.at
            if limit_s is not None and age_s > max(limit_s, MISSED * heard.interval_s):
                yield (
                    slot,
                    Finding("heartbeat", is_bad=True, is_hard=True, why=f"nothing was heard of it for {age_s:.0f} s"),
                )

    def is_scraped(self, slot: int) -> bool:
        """Whether its metrics could be read once."""
        heard = self._heard.get(slot)
        return heard is not None and heard.is_scraped

    def is_still(self, slot: int, since: float) -> bool:
        """Whether requests run there, and nothing was computed since then, as far as it counts that."""
        heard = self._heard.get(slot)
        return heard is not None and heard.tokens >= 0 and heard.moved_at <= since

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._heard.pop(slot, None)


def _progress(heard: _Heard, event: Scraped, stuck_s: float) -> Finding:
    tokens = (event.generation_tokens or 0) + (event.prompt_tokens or 0)
    if not event.running or tokens != heard.tokens:
        heard.tokens, heard.moved_at = tokens, event.at
        return Finding("progress", is_bad=False)
    still_s = event.at - heard.moved_at
    if still_s < stuck_s:
        return Finding("progress", is_bad=False)
    why = f"{event.running} requests run and no token came for {still_s:.0f} s"
    return Finding("progress", is_bad=True, is_hard=True, why=why)


def _printable(reason: str) -> str:
    """On one line, for logs, tables and headers, whatever an engine said."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in reason[:MAX_REASON])
