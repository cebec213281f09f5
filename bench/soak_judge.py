"""Did a long run leak, lose or forget? What was sampled and counted, held against bounds.

Pure. A run is warming up first: caches, rings and pools of connections fill. What is left is cut into windows of equal
length, and the medians of the first and the last window are compared: an allocator that keeps a peak for a while, or a
fault that is on at one sample, moves no median, while a leak moves all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

WARM_UP_SHARE: Final = 0.3
"""Of the run: bounded tables fill first (the picker keeps its latest 2,048 decisions, the index its prompts)."""

WINDOWS: Final = 3
"""Of the rest. Two are compared; what stands between them keeps one wave of faults from being in both."""

LEAST_SAMPLES: Final = 5
"""In each window; fewer have no median worth the name."""

RSS_GROWTH_KIB: Final = 12 * 1024
"""Resident memory that may come between the windows: arenas of the allocators, which keep a few MiB, and where a run
takes only two minutes, the last 7 MiB of the bounded tables."""

RSS_GROWTH_SHARE: Final = 0.04
"""The same in relation to what the process has; the greater one holds."""

FDS_GROWTH: Final = 12
"""Descriptors are connections: to eight pods, some of them just gone, and of the clients that are just there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time, seconds after the begin."""

    at_s: float
    rss_kib: int
    fds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the requests."""

    sent: int = 0
    answered: int = 0
    left: int = 0
    """By their clients, who meant to."""

    lost: int = 0
    """Without a byte of a good answer."""

    cut: int = 0
    """Began and broke off: the faults of the run do that to streams, and nobody may repeat them."""

    unended: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One bound: what it is about, what was found, and whether it holds."""

    name: str
    found: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one number, between the medians of the first and the last window."""

    first: float
    last: float
    hours: float
    """Between the middles of the two."""

    @property
    def by(self) -> float:
        """How much more it is."""
        return self.last - self.first

    @property
    def per_hour(self) -> float:
        """The slope."""
        return self.by / self.hours


def growth(samples: Sequence[Sample], values: Sequence[float]) -> Growth | None:
    """Of `values`, one for each sample in the order of time; None when a window has too few of them."""
    if not samples:
        return None
    begin, end = samples[0].at_s, samples[-1].at_s
    warm = begin + (end - begin) * WARM_UP_SHARE
    length = (end - warm) / WINDOWS
    first, last = (
        [value for sample, value in zip(samples, values, strict=True) if start <= sample.at_s <= start + length]
        for start in (warm, end - length)
    )
    if min(len(first), len(last)) < LEAST_SAMPLES or length <= 0:
        return None
    return Growth(first=median(first), last=median(last), hours=length * (WINDOWS - 1) / 3600)


def verdicts(
    samples: Mapping[str, Sequence[Sample]], counts: Counts, in_flight: Mapping[str, int], lost_share: float
) -> list[Finding]:
    """All bounds. `in_flight` is what each side still counts after the last answer; `lost_share` what may be lost."""
    found = [Finding(f"in flight after the end: {side}", f"{value:,}", value == 0) for side, value in in_flight.items()]
    share = counts.lost / counts.sent if counts.sent else 1.0
    found.append(Finding("lost", f"{counts.lost:,} of {counts.sent:,}", bool(counts.sent) and share <= lost_share))
    found.append(Finding("unended", f"{counts.unended:,}", counts.unended == 0))
    for process, of in samples.items():
        memory = growth(of, [sample.rss_kib for sample in of])
        files = growth(of, [sample.fds for sample in of])
        if memory is None or files is None:
            found.append(Finding(f"{process}", f"{len(of)} samples say too little", holds=False))
            continue
        most = max(RSS_GROWTH_KIB, memory.first * RSS_GROWTH_SHARE)
        told = f"{memory.by / 1024:+.1f} MiB from {memory.first / 1024:.1f}, {memory.per_hour / 1024:+.1f} MiB an hour"
        found.append(Finding(f"memory of {process}", told, memory.by <= most))
        told = f"{files.by:+.0f} from {files.first:.0f}"
        found.append(Finding(f"descriptors of {process}", told, files.by <= FDS_GROWTH))
    return found
