"""What is replayed, as words of `kvpilot replay`: workloads, fleets, and the runs of one command.

Pure values. A run is known by its words, so that the command under a table and the numbers in it cannot differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SEEDS: Final = 3
"""Runs of each cell; a file is the same for all, then only chance in scrapes and ties differs."""

KNEE_TTFT_S: Final = 2.0
"""The knee is where the 90th percentile of the best rule's time to first token crosses this."""

NO_TPOT: Final = "tpot=60s"
"""The knee is about first tokens alone: a minute between two tokens is no limit."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of traffic. `trace` is what the command line takes; of a file its name, without the folder."""

    name: str
    trace: str
    requests: int

    @property
    def is_file(self) -> bool:
        """Whether it has to be read from a file."""
        return not self.trace.startswith("generate:")


@dataclass(frozen=True, slots=True)
class Place:
    """A workload on eight engines of a profile, and the P90 of the time to first token that marks its knee, seconds.

    Where a prompt alone takes longer than `KNEE_TTFT_S`, the limit is longer, or there would be no knee.
    """

    workload: Workload
    profile: str
    knee_ttft_s: float = KNEE_TTFT_S

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.workload.name}, {self.profile}"

    @property
    def words(self) -> tuple[str, ...]:
        """The command's words for it, without load."""
        return (self.workload.trace, "--requests", str(self.workload.requests), "--profile", self.profile)


@dataclass(frozen=True, slots=True)
class Knee:
    """What the search for a knee found: the load, the multiple of the trace's pace, and the requests per second."""

    load: float
    rate: float
    requests_per_s: float
    strategy: str

    def load_word(self, share: float) -> str:
        """A share of it as the word of `--load`."""
        return f"{self.load * share:.3g}"

    def rate_word(self, share: float) -> str:
        """The same as the word of `--rate`."""
        return f"{self.rate * share:.4g}"

    def span_s(self, place: Place, share: float) -> float:
        """How long the trace of a place lasts at that share, about."""
        return place.workload.requests / (self.requests_per_s * share)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run, or one search: the words, and which of the runs that they ask for."""

    words: tuple[str, ...]
    strategy: str
    load: str = ""
    pace: str = "--load"
    seed: int = 1
    search: str = ""
    """Empty: a run. `rate` or `size`: what is searched for."""

    @property
    def key(self) -> str:
        """The same for the same run, whichever table asks for it."""
        return " ".join((*self.words, self.pace, self.load, self.search, str(self.seed), self.strategy))


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one command: every rule at every load with every seed."""

    words: tuple[str, ...]
    strategies: tuple[str, ...]
    loads: tuple[str, ...] = ()
    """The words after `--load`, or after `--rate` if that is the `pace`."""

    pace: str = "--load"
    seeds: int = SEEDS
    search: str = ""
    is_all: bool = False
    """Whether the command may leave the rules' names out: without, all there are are played."""

    @property
    def command(self) -> str:
        """What to type for it."""
        parts = ["kvpilot replay", *self.words]
        if self.loads:
            parts += [self.pace, *self.loads]
        if self.search == "size":
            parts.append("--size")
        if self.seeds > 1:
            parts += ["--seeds", str(self.seeds)]
        if not self.is_all:
            parts += ["--strategies", ",".join(self.strategies)]
        return " ".join(parts)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words that say all but which rules."""
        loads = (self.pace, *self.loads) if self.loads else ()
        return (*self.words, *loads, "--seeds", str(self.seeds))

    def cells(self) -> Iterator[Cell]:
        """Its runs; a search is one for all seeds."""
        for strategy in self.strategies:
            for load in self.loads or ("",):
                for seed in (1,) if self.search else range(1, self.seeds + 1):
                    yield self.cell(strategy, load, seed)

    def cell(self, strategy: str, load: str = "", seed: int = 1) -> Cell:
        """One of its runs."""
        return Cell(self.words, strategy, load, self.pace, seed, self.search)
