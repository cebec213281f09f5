"""What came of each request of a replay, and of the fleet. Values only."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "failed", "shed", "aborted"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. Times are seconds since its arrival; None: it did not come so far.

    `shed`: the router named nobody. `failed`: nobody was left to try, no engine could ever hold it, or its engine ended
    in the middle of the answer. `aborted`: the client went away, before its first token or after it.
    """

    at_s: float
    status: Status
    address: str
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    ttft_s: float | None
    e2e_s: float | None
    session: str = ""
    tenant: str = ""
    model: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether it came to nothing for a reason of ours; a client that leaves in mid-answer has its own."""
        return self.status in ("failed", "shed") or (self.status == "aborted" and self.ttft_s is None)

    @property
    def tpot_s(self) -> float | None:
        """Mean time between tokens; None for an answer of one token."""
        if self.ttft_s is None or self.e2e_s is None or self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class PodTotals:
    """What one pod did: first tokens given, prompt tokens computed for them, preemptions (since its last start)."""

    address: str
    served: int
    computed_tokens: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """One trace with one router rule and one seed."""

    strategy: str
    kind: str
    seed: int
    outcomes: tuple[Outcome, ...]
    pods: tuple[PodTotals, ...]
