"""A request on its way through a replay, and what is told of it. Pure."""

from dataclasses import dataclass

from ext_proc.core import events as told
from sim.traces.trace import TraceRequest
from sim.virtual.outcome import Outcome, Status


@dataclass(slots=True, eq=False)
class Job:
    """One request of a trace. Mutable: the replay is the only writer."""

    id: str
    asked: TraceRequest
    blocks: tuple[int, ...]
    router: int
    names: tuple[str, ...] = ()
    attempts: int = 0
    address: str = ""
    first_s: float | None = None
    """When its client gets the first token; None: not yet, or not at all."""

    cached_tokens: int = 0
    end_s: float | None = None
    status: Status = "failed"

    reads_s: float | None = None
    """How long its client reads the answer; None: to its end."""

    is_lost: bool = False
    """Whether its client knows that it has failed."""

    is_gone: bool = False
    """Whether its client went away."""

    def ended(self, at: float) -> told.RequestEnded:
        """The end of an answer that is complete."""
        assert self.first_s is not None, "an answer ended before it began"
        return told.RequestEnded(
            decision_id=self.id,
            at=at,
            status=200,
            served=self.address,
            attempts=self.attempts,
            ttft_ms=(self.first_s - self.asked.at_s) * 1e3,
            duration_ms=(at - self.asked.at_s) * 1e3,
            prompt_tokens=self.asked.prompt_tokens,
            completion_tokens=self.asked.output_tokens,
            cached_tokens=self.cached_tokens,
        )

    def aborted(self, at: float) -> told.RequestEnded:
        """As Envoy logs a client that goes away; its flag is DC, downstream connection termination."""
        has_begun = self.first_s is not None
        return told.RequestEnded(
            decision_id=self.id,
            at=at,
            status=200 if has_begun else 0,
            served=self.address if has_begun else "",
            attempts=self.attempts,
            flags=("DC",),
            aborted=True,
            ttft_ms=None if self.first_s is None else (self.first_s - self.asked.at_s) * 1e3,
            duration_ms=(at - self.asked.at_s) * 1e3,
        )

    def outcome(self) -> Outcome:
        """What came of it."""
        asked = self.asked
        return Outcome(
            at_s=asked.at_s,
            status=self.status,
            address=self.address,
            attempts=self.attempts,
            prompt_tokens=asked.prompt_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=asked.output_tokens,
            ttft_s=None if self.first_s is None else self.first_s - asked.at_s,
            e2e_s=None if self.end_s is None else self.end_s - asked.at_s,
            session=asked.session,
            tenant=asked.tenant,
            model=asked.model,
        )
