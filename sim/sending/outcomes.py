"""What came of sending: each answer as an `Outcome` of a replay, and how well the sender kept the times.

Pure. Times to the first token count from the moment of sending, not from that of the plan: a sender that was late sent
a lighter load than it says, so its lateness stands beside the numbers and is not mixed into them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Final

from sim.ranks import nearest_rank
from sim.sending.plan import Plan, Send
from sim.virtual.metrics import Slo, summary
from sim.virtual.outcome import Outcome, PodTotals, RunResult, Status

STRATEGY: Final = "live"
"""The name that a live run has where a virtual one has its rule: what routed is on the other side."""

PUNCTUAL_S: Final = 0.05
"""Lateness of all but one percent up to which a run counts as on time: less than a first token takes, and more than a
loop on a busy machine needs."""

SHED_STATUS: Final = 429

MOST_REASONS: Final = 5
MOST_REASON_CHARACTERS: Final = 120
_OTHERS: Final = "(others)"
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a client saw of one request. Times are seconds since its sending; None: it did not come so far."""

    status: int = 0
    """HTTP's; 0: no answer at all."""

    is_ok: bool = False
    """Answered in full; an answer may be empty, when a model has nothing to say."""

    ttft_s: float | None = None
    e2e_s: float | None = None
    prompt_tokens: int = 0
    """As the endpoint counted; 0: it did not tell."""

    cached_tokens: int | None = None
    """None: it did not tell."""

    output_tokens: int = 0
    pod: str = ""
    """Who answered, where a header names it."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was sent and has ended; `late_s` after the time of the plan."""

    send: Send
    late_s: float
    answered: Answered


@dataclass(frozen=True, slots=True)
class Run:
    """One sending of a plan. `unfinished` were still without an end when it was stopped."""

    plan: Plan
    sent: tuple[Sent, ...]
    unfinished: int
    in_flight_most: int
    waited: int
    """Sends for which there was no place in flight: they waited for one."""

    is_interrupted: bool = False

    @property
    def is_open_loop(self) -> bool:
        """No bound has moved a request, and the sender was on time."""
        return not self.plan.held and not self.waited and lateness(self)["p99"] <= PUNCTUAL_S * 1e3

    @property
    def is_cached_told(self) -> bool:
        """Whether any answer said how much of its prompt was cached."""
        return any(one.answered.cached_tokens is not None for one in self.sent)

    @property
    def answered(self) -> int:
        """Requests that were answered in full."""
        return sum(one.answered.is_ok for one in self.sent)

    @property
    def empty(self) -> int:
        """Those of them without any content: they have no time to a first token."""
        return sum(one.answered.is_ok and one.answered.ttft_s is None for one in self.sent)


def result(run: Run) -> RunResult:
    """The run as one of a replay. Pods are those that answers named."""
    served: Counter[str] = Counter()
    computed: Counter[str] = Counter()
    outcomes = []
    for one in sorted(run.sent, key=lambda one: one.send.number):
        outcome = _outcome(one)
        outcomes.append(outcome)
        if outcome.address and outcome.ttft_s is not None:
            served[outcome.address] += 1
            computed[outcome.address] += outcome.prompt_tokens - outcome.cached_tokens
    pods = tuple(PodTotals(pod, served[pod], computed[pod], 0) for pod in sorted(served))
    return RunResult(STRATEGY, STRATEGY, 1, tuple(outcomes), pods)


def _outcome(one: Sent) -> Outcome:
    asked, answered = one.send.asked, one.answered
    status: Status = "ok" if answered.is_ok else "shed" if answered.status == SHED_STATUS else "failed"
    begun = answered.status == 200
    return Outcome(
        at_s=one.send.at_s,
        status=status,
        address=answered.pod,
        attempts=1,
        prompt_tokens=answered.prompt_tokens or asked.prompt_tokens,
        cached_tokens=answered.cached_tokens or 0,
        output_tokens=answered.output_tokens,
        ttft_s=answered.ttft_s if begun else None,
        e2e_s=answered.e2e_s if answered.is_ok else None,
        session=asked.session,
        tenant=asked.tenant,
        model=asked.model,
    )


def numbers(run: Run, slo: Slo) -> dict[str, Any]:
    """The JSON values of the run's `Summary`; null where the endpoint did not tell what a number needs."""
    found = result(run)
    values = summary(found, slo).as_dict()
    if not run.is_cached_told:
        values["cached_share"] = None
    if len(found.pods) < 2 or not run.is_cached_told:
        values["imbalance"] = None
    return values


def lateness(run: Run) -> dict[str, float]:
    """How late requests went out, against the plan, in ms."""
    late = sorted(one.late_s for one in run.sent)
    if not late:
        return {"mean": 0.0, "p99": 0.0, "most": 0.0}
    found = fsum(late) / len(late), nearest_rank(late, 99), late[-1]
    return dict(zip(("mean", "p99", "most"), (round(value * 1e3, _DIGITS) for value in found), strict=True))


def reasons(run: Run) -> dict[str, int]:
    """Why requests were not answered in full, the most frequent first; what is rare is counted together."""
    found = Counter(reason(one.answered) for one in run.sent if not one.answered.is_ok)
    shown = dict(found.most_common(MOST_REASONS))
    rest = found.total() - sum(shown.values())
    return {**shown, _OTHERS: rest} if rest else shown


def reason(answered: Answered) -> str:
    """Why a request was not answered in full, in one short line without anything that a terminal would obey."""
    words = "".join(c if c.isprintable() else " " for c in answered.error)
    text = " ".join(words.split()) or "the answer broke off"
    if len(text) > MOST_REASON_CHARACTERS:
        text = text[: MOST_REASON_CHARACTERS - 1] + "…"
    return text if answered.status in (0, 200) else f"HTTP {answered.status}: {text}"


def sending(run: Run) -> dict[str, Any]:
    """The JSON values of how it was sent."""
    return {
        "planned": len(run.plan.sends),
        "sent": len(run.sent) + run.unfinished,
        "answered": run.answered,
        "empty": run.empty,
        "unfinished": run.unfinished,
        "cut_by_duration": run.plan.cut,
        "held_by_rate": run.plan.held,
        "waited_for_place": run.waited,
        "in_flight_most": run.in_flight_most,
        "late_ms": lateness(run),
        "prompt_tokens_share": tokens_told(run.sent),
        "is_open_loop": run.is_open_loop,
        "is_interrupted": run.is_interrupted,
    }


def tokens_told(sent: Sequence[Sent]) -> float | None:
    """Prompt tokens as the endpoint counted them, over those of the trace; None when it did not tell."""
    told = [one for one in sent if one.answered.prompt_tokens]
    asked = sum(one.send.asked.prompt_tokens for one in told)
    return round(sum(one.answered.prompt_tokens for one in told) / asked, 4) if asked else None
