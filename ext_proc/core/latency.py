"""How long endpoints take and how often they fail, from what became of requests: smoothed, and forgotten in time.

*Latency* is the time to the first token of requests that needed one try; of an answer in one piece it is nearly the
whole time. Only answers count: a refusal is quick. *Errors* are tries that failed, a full engine's 429 and 503
included, since a pod that refuses at once would otherwise look like the quickest of all.

Each new sample lowers the weight of the ones before it, and so does time. What is left of it is mixed with one sample
of a stranger (the usual latency of the others, no error), so that an endpoint that was bad, and is therefore not asked
any more, drifts back to where it gets another chance.
"""

import math
from dataclasses import dataclass

import numpy as np

from ext_proc.core.events import AttemptEnded, Event, FirstToken, RequestEnded
from ext_proc.core.evidence import FAILURES, Evidence, evidence_of_attempt, evidence_of_request
from ext_proc.core.record import Record
from ext_proc.core.slots import FloatArray, IntArray, grown, middle

# Weight of the past at each new sample: about the last twenty requests count.
MEMORY = 0.95

# Seconds in which what is known loses half of its weight: engines restart and queues drain within a minute.
HALF_LIFE_S = 30.0

# The weight of the stranger's sample.
STRANGER = 1.0

# The usual latency where nobody has answered yet; any number would do, as it is the same for all.
START_LATENCY_S = 1.0

# What an answer takes where nobody has ended yet: a few hundred tokens.
START_ANSWER_MS = 5_000.0

# Half-lives after which not even many errors in a row are felt: a weight of 20 is 0.02 then, beside a stranger's 1.
_FELT = 10.0

# How many standard deviations more errors than usual may still be chance: one in forty is more than two.
DEVIATIONS = 2.0

# Added to the variance, so that a single error is always chance, however few tries there were: 2 · √¼ = 1.
ONE_ERROR = 0.25

# Below this weight a mean says too little to count for what is usual.
_KNOWN = 0.5


_FULL = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Sample:
    """What one event says about an endpoint; None where it says nothing."""

    address: str
    seconds: float | None = None
    is_error: bool | None = None


def sample_of(event: Event, record: Record | None) -> Sample | None:
    """Reads one event. `record` is that of its request, as it was before the event: a first token counts once."""
    match event:
        case FirstToken():
            if record is None or record.outcome.ttft_ms is not None or record.outcome.attempts > 1:
                return None
            return Sample(event.address, seconds=event.ttft_ms / 1_000)
        case AttemptEnded():
            evidence = evidence_of_attempt(event)
            is_full = evidence is Evidence.ALIVE and event.status in _FULL
            is_error = is_full or evidence in FAILURES
            return Sample(event.address, is_error=True) if is_error else None
        case RequestEnded():
            return _end(event, record)
        case _:
            return None


def _end(event: RequestEnded, record: Record | None) -> Sample | None:
    evidence = evidence_of_request(event)
    if evidence is Evidence.SOFT:
        return Sample(event.served, is_error=True)
    if evidence is not Evidence.GOOD:
        return None  # failed tries have records of their own
    told = record is not None and record.outcome.ttft_ms is not None
    milliseconds = event.duration_ms if event.ttft_ms is None else event.ttft_ms
    # A refusal (4xx) is quick and says nothing.
    is_plain = event.attempts <= 1 and not told and event.status < 400
    return Sample(event.served, seconds=milliseconds / 1_000 if is_plain else None, is_error=False)


class Latencies:
    """Means by slot.

    Mutable: the arrays, and two numbers of all slots together; `answered`, `ended`, `lasted`, `forgive`, `reset` and
    `grow` are the writers.
    """

    def __init__(self, capacity: int) -> None:
        self._seconds = _Mean(capacity)
        self._errors = _Mean(capacity)
        self._held = _Mean(capacity)  # the errors of those to whom earlier ones are forgiven
        self._forgiven: set[int] = set()
        self._error_at = -math.inf
        self.usual_answer_ms = START_ANSWER_MS
        """From a request to the end of its answer, of all endpoints together."""

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        self._seconds.grow(capacity)
        self._errors.grow(capacity)
        self._held.grow(capacity)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._seconds.reset(slot)
        self._errors.reset(slot)
        self._forgiven.discard(slot)

    def answered(self, slot: int, seconds: float, at: float) -> None:
        """An answer began so long after it was asked for."""
        self._seconds.add(slot, max(0.0, seconds), at)

    def ended(self, slot: int, at: float, *, is_error: bool) -> None:
        """A try ended, well or not."""
        self._errors.add(slot, float(is_error), at)
        if slot in self._forgiven:
            self._held.add(slot, float(is_error), at)
        if is_error:
            self._error_at = max(at, self._error_at)

    def forgive(self, slot: int) -> None:
        """Holds no error against an endpoint: it was ejected for them, and has shown that it is well again."""
        self._forgiven.add(slot)
        self._held.reset(slot)

    def lasted(self, milliseconds: float) -> None:
        """An answer took so long from its request to its end."""
        self.usual_answer_ms += (1.0 - MEMORY) * (milliseconds - self.usual_answer_ms)

    def may_have_errors(self, now: float) -> bool:
        """False where no endpoint has a share of errors to speak of."""
        return now - self._error_at < _FELT * HALF_LIFE_S

    def seconds(self, slots: IntArray, now: float) -> FloatArray:
        """The mean latency of `slots`, in seconds; of one that has not answered lately, what is usual among them."""
        total, weight = self._seconds.at(slots, now)
        known = weight > _KNOWN
        usual = middle(total[known] / weight[known]) if known.any() else START_LATENCY_S
        mixed: FloatArray = (total + STRANGER * usual) / (weight + STRANGER)
        return mixed

    def error_rate(self, slots: IntArray, now: float) -> FloatArray:
        """The share of tries on `slots` that failed, from 0 to 1."""
        total, weight = self._errors.at(slots, now)
        rate: FloatArray = total / (weight + STRANGER)
        return rate

    def excess_errors(self, slots: IntArray, now: float) -> FloatArray:
        """The part of that share, as far as it is not forgiven, which neither the usual one nor chance explains.

        Chance: `DEVIATIONS` standard deviations of a Poisson count, and never less than one error. Errors that come to
        all alike, such as those of requests that no engine can serve, are nobody's fault.
        """
        total, weight = self._errors.at(slots, now)
        if self._forgiven:
            forgiven = np.isin(slots, list(self._forgiven))
            since_then = self._held.at(slots, now)
            total, weight = (
                np.where(forgiven, held, whole) for held, whole in zip(since_then, (total, weight), strict=True)
            )
        usual = total.sum() / (weight.sum() + STRANGER)
        expected = usual * weight
        excess: FloatArray = (total - expected - DEVIATIONS * np.sqrt(expected + ONE_ERROR)) / (weight + STRANGER)
        return np.maximum(0.0, excess)


class _Mean:
    """Forgetting sums by slot. Mutable: three arrays; its owner is the only writer."""

    def __init__(self, capacity: int) -> None:
        self._total = np.zeros(capacity)
        self._weight = np.zeros(capacity)
        self._at = np.zeros(capacity)

    def grow(self, capacity: int) -> None:
        if capacity > len(self._at):
            self._total = grown(self._total, capacity, 0)
            self._weight = grown(self._weight, capacity, 0)
            self._at = grown(self._at, capacity, 0)

    def reset(self, slot: int) -> None:
        self._total[slot] = self._weight[slot] = self._at[slot] = 0

    def add(self, slot: int, value: float, at: float) -> None:
        """A late record is taken as one of now: events come roughly in order."""
        kept = MEMORY * 2.0 ** (-max(0.0, at - float(self._at[slot])) / HALF_LIFE_S)
        self._total[slot] = kept * self._total[slot] + value
        self._weight[slot] = kept * self._weight[slot] + 1.0
        self._at[slot] = max(at, float(self._at[slot]))

    def at(self, slots: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Sum and weight at that moment."""
        kept = np.exp2(-np.maximum(0.0, now - self._at[slots]) / HALF_LIFE_S)
        return kept * self._total[slots], kept * self._weight[slots]
