"""What hardware tells, read as evidence of how endpoints are: findings for `ext_proc.core.verdicts`.

Of several GPUs of one endpoint the worst counts, since an engine needs all of them.

- *gpu-fault*: an error after which the driver gives up a GPU (`fatal_xids`), memory errors that could not be corrected,
  or what the exporter calls a fault. None of them needs repetition.
- *gpu-past*: such an error that was there when we first looked, or memory without spare rows. DCGM keeps the last error
  until it is restarted, so whether the GPU was mended since cannot be told: it is a doubt, not a fault. The error may
  be months old, and this process restarts more often than the exporter: when no other one has come for `DOUBT_S` the
  doubt is over, and what the engine does is all the evidence.
- *gpu-heat*, *gpu-memory*, *gpu-load*: at a limit, and well again some way below it; in between they say nothing.

An error that came while we looked is over when the exporter tells of none any more. Another error does not take it
back: the driver's reports of cleaning up follow it, and hide it. An exporter that is gone says nothing: what it
measured is forgotten soon, what it told of faults after a while. One that is asked instead of another says which GPUs
are the endpoint's; others never were.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ext_proc.core.gpus import Gpu, GpusTold, GpusUntold
from ext_proc.core.settings import GpuSettings
from ext_proc.core.verdicts import Finding, Sign

HEAT_SLACK: Final = 5.0
"""°C below its limit a GPU is cool again: at the limit its own control makes it swing by a few."""

SHARE_SLACK: Final = 0.05
"""As with KV memory (`ext_proc.core.signs`)."""

MISSED: Final = 3
"""Looks that may fail before measurements are too old to count; exporters restart within as many."""

KEPT_S: Final = 600.0
"""For so long a fault outlives its exporter, or its GPU's rows: a lost GPU often takes them along. Longer, and a node
that has no exporter any more would be out for ever."""

DOUBT_S: Final = 600.0
"""For so long an old error is doubted, looked at without a break: an engine that loads on a GPU that is broken has
failed by then, and requests, probes and scrapes tell that."""

MAX_GPUS: Final = 64
"""Of one endpoint: the largest node has 16, in up to 7 instances each, of which an engine has a few."""

MAX_ERRORS: Final = 64
"""Different errors of one GPU that are remembered; a burst has a handful."""

MAX_WATCHED: Final = 4 * MAX_GPUS
"""Names that are remembered; an exporter that makes up new ones each time must not fill the memory."""

_MEASURED: Final[tuple[Sign, ...]] = ("gpu-heat", "gpu-memory", "gpu-load")
_ALL: Final[tuple[Sign, ...]] = ("gpu-fault", "gpu-past", *_MEASURED)


@dataclass(slots=True)
class _Watched:
    """One GPU over time. Mutable: all of it; `take` writes."""

    seen_at: float
    xid: int
    """The last error, as the exporter tells it."""
    memory_errors: int | None
    errors: dict[int, bool]
    """XID → whether it came while we looked, of all since the exporter told of none."""
    doubted_since: float
    """When the last error came, or we began to look."""

    def fatal(self, settings: GpuSettings, *, came: bool) -> int:
        """The first fatal error that came, or that was there before; 0 for none."""
        found = (xid for xid, is_new in self.errors.items() if is_new is came and xid in settings.fatal_xids)
        return next(found, 0)

    def take(self, gpu: Gpu, settings: GpuSettings, at: float) -> str:
        """Takes a look at it; what is its fault, in words, empty for none."""
        is_new_error, self.seen_at, self.xid = gpu.xid != self.xid, at, gpu.xid
        if not gpu.xid:
            self.errors.clear()
        elif is_new_error and len(self.errors) < MAX_ERRORS:
            self.errors[gpu.xid] = True
            self.doubted_since = at
        if at - self.doubted_since >= DOUBT_S:
            self.errors = {xid: is_new for xid, is_new in self.errors.items() if is_new}
        more = self._more_memory_errors(gpu.memory_errors)
        recent = (xid for xid in gpu.recent_xids if xid in settings.fatal_xids)
        if gpu.fault:
            return f"GPU {gpu.name}: {gpu.fault}"
        if fatal := self.fatal(settings, came=True) or next(recent, 0):
            return f"GPU {gpu.name} has error XID {fatal}"
        return f"GPU {gpu.name}: {more} memory errors that could not be corrected" if more > 0 else ""

    def _more_memory_errors(self, errors: int | None) -> int:
        before = self.memory_errors
        if errors is None:
            return 0
        self.memory_errors = errors
        return 0 if before is None else errors - before


@dataclass(slots=True)
class _Endpoint:
    """Mutable: the GPUs by name, and the last look; `GpuSigns` writes."""

    at: float
    source: str
    gpus: tuple[Gpu, ...] = ()
    watched: dict[str, _Watched] = field(default_factory=dict)


class GpuSigns:
    """Mutable: what was told of the GPUs of each slot; the picker is the only writer."""

    def __init__(self) -> None:
        self._known: dict[int, _Endpoint] = {}

    def told(self, slot: int, event: GpusTold, settings: GpuSettings) -> Iterator[Finding]:
        """An exporter told of the GPUs of an endpoint."""
        known = self._known.get(slot)
        if known is None:
            known = self._known[slot] = _Endpoint(event.at, event.source)
        patience_s = _kept_s(settings) if event.source == known.source else 0.0
        known.at, known.source, known.gpus = event.at, event.source, event.gpus[:MAX_GPUS]
        faults, doubts = _history(known, settings, event.at, patience_s)
        yield _finding("gpu-fault", faults)
        yield _finding("gpu-past", doubts)
        yield from _measured(known.gpus, settings)

    def latest(self, slot: int, address: str) -> GpusTold | None:
        """What was told last, to be taken again where it is judged otherwise: looks are seconds apart."""
        known = self._known.get(slot)
        if known is None or not known.gpus:
            return None
        return GpusTold(address=address, at=known.at, gpus=known.gpus, source=known.source)

    def untold(self, slot: int, event: GpusUntold, settings: GpuSettings) -> Iterator[Finding]:
        """Nothing could be learned of them."""
        known = self._known.get(slot)
        if known is None:
            return
        age_s = event.at - known.at
        is_forgotten = age_s > _kept_s(settings)
        if is_forgotten:
            known.gpus, known.watched = (), {}
        signs = _ALL if is_forgotten else _MEASURED if age_s > MISSED * settings.interval_s else ()
        for sign in signs:
            yield Finding(sign, is_bad=False)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._known.pop(slot, None)

    def status(self, slot: int, now: float) -> dict[str, Any]:
        """JSON values: `gpus` and how old that is; nothing where nothing was told."""
        known = self._known.get(slot)
        if known is None or not known.gpus:
            return {}
        return {"gpus": [_as_dict(gpu) for gpu in known.gpus], "gpus_age_s": round(now - known.at, 3)}


def _kept_s(settings: GpuSettings) -> float:
    """As long as measurements at least, where looks are minutes apart."""
    return max(KEPT_S, MISSED * settings.interval_s)


def _history(known: _Endpoint, settings: GpuSettings, at: float, patience_s: float) -> tuple[list[str], list[str]]:
    """Faults and doubts in words; takes the newest look in. `patience_s`: for so long a GPU may not be told of."""
    faults, doubts = [], []
    watched = known.watched
    here = {gpu.name for gpu in known.gpus}
    if len(watched) > MAX_WATCHED:
        patience_s = 0.0
    for name in [name for name, each in watched.items() if name not in here and at - each.seen_at > patience_s]:
        del watched[name]
    for name, each in watched.items():
        if name not in here and (fatal := each.fatal(settings, came=True)):
            faults.append(f"GPU {name} had error XID {fatal} and is not told of any more")
    for gpu in known.gpus:
        if gpu.name not in watched:
            watched[gpu.name] = _Watched(at, gpu.xid, gpu.memory_errors, {gpu.xid: False} if gpu.xid else {}, at)
        one = watched[gpu.name]
        if fault := one.take(gpu, settings, at):
            faults.append(fault)
        if fatal := one.fatal(settings, came=False):
            doubts.append(f"GPU {gpu.name} had error XID {fatal} before it was looked at")
        if gpu.is_worn:
            doubts.append(f"GPU {gpu.name} has no spare memory rows left")
    return faults, doubts


def _finding(sign: Sign, words: list[str]) -> Finding:
    more = f" and {len(words) - 1} more" if len(words) > 1 else ""
    return Finding(sign, is_bad=bool(words), is_hard=bool(words), why=words[0] + more if words else "")


def _measured(gpus: tuple[Gpu, ...], settings: GpuSettings) -> Iterator[Finding]:
    heats = (
        *_excesses(gpus, "temperature", settings.max_temperature, HEAT_SLACK),
        *_excesses(gpus, "memory_temperature", settings.max_memory_temperature, HEAT_SLACK),
    )
    yield from _worst("gpu-heat", heats, "{value:.0f} °C")
    memory = _excesses(gpus, "memory_usage", settings.max_memory_usage, SHARE_SLACK)
    yield from _worst("gpu-memory", memory, "{value:.0%} of its memory is used")
    load = _excesses(gpus, "utilization", settings.max_utilization, SHARE_SLACK)
    yield from _worst("gpu-load", load, "{value:.0%} of its time is used")


_Excess = tuple[float, float, float, str]
"""How far it is above its limit, the slack, the value, and whose it is."""


def _excesses(gpus: tuple[Gpu, ...], what: str, limit: float | None, slack: float) -> tuple[_Excess, ...]:
    if limit is None:
        return ()
    whose = "memory of GPU" if what == "memory_temperature" else "GPU"
    told = ((getattr(gpu, what), gpu.name) for gpu in gpus)
    return tuple((value - limit, slack, value, f"{whose} {name}") for value, name in told if value is not None)


def _worst(sign: Sign, excesses: tuple[_Excess, ...], form: str) -> Iterator[Finding]:
    if not excesses:
        yield Finding(sign, is_bad=False)  # nobody measures it any more
        return
    above, slack, value, whose = max(excesses)
    if above >= 0:
        yield Finding(sign, is_bad=True, why=f"{whose}: {form.format(value=value)}")
    elif above <= -slack:
        yield Finding(sign, is_bad=False)


def _as_dict(gpu: Gpu) -> dict[str, Any]:
    values = {
        "xid": gpu.xid,
        "temperature": gpu.temperature,
        "memory_temperature": gpu.memory_temperature,
        "memory_usage": None if gpu.memory_usage is None else round(gpu.memory_usage, 3),
        "utilization": None if gpu.utilization is None else round(gpu.utilization, 3),
        "memory_errors": gpu.memory_errors,
    }
    return {"name": gpu.name, **{key: value for key, value in values.items() if value is not None}}
