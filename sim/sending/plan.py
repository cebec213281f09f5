"""When each request of a trace is sent, within bounds that are known before the first one goes out.

    planned = plan(trace, Bounds(max_rate=10.0, duration_s=60.0))
    planned.late_most_s  # 0.0: the trace keeps its own times

Pure. A trace is sent open loop: at its own times, whatever becomes of the earlier requests. Where the most requests per
second do not allow that, the later ones are held back, and the plan says how many and how long.
"""

from dataclasses import dataclass
from math import floor
from typing import Final

from sim.traces.trace import TIME_DIGITS, Trace, TraceRequest

WINDOW_S: Final = 1.0
"""Within which the most requests per second hold: siblings of one instant may come together, a flood may not."""

MAX_RATE: Final = 10.0
DURATION_S: Final = 300.0
MAX_IN_FLIGHT: Final = 256
TIMEOUT_S: Final = 120.0
"""Bounds when nothing is said: what a single pod can take, five minutes, and a client that stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is never exceeded. Raises ValueError for bounds under which nothing could be sent."""

    max_rate: float = MAX_RATE
    """Requests within any second (at least one)."""

    duration_s: float = DURATION_S
    """Requests of the trace after this time are not sent."""

    max_in_flight: int = MAX_IN_FLIGHT
    timeout_s: float = TIMEOUT_S
    """Of one request, to its end."""

    def __post_init__(self) -> None:
        """Refuse bounds of nothing."""
        if min(self.max_rate, self.duration_s, self.max_in_flight, self.timeout_s) <= 0:
            raise ValueError("bounds are positive")


@dataclass(frozen=True, slots=True)
class Send:
    """One request: its number in the trace, what the trace says of it, and when it goes out at the earliest."""

    number: int
    asked: TraceRequest
    at_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is going to be sent, in order."""

    sends: tuple[Send, ...]
    cut: int
    """Requests of the trace that lie behind the end of the time, and are not sent."""

    held: int
    """Requests that go out later than the trace says, because of the most per second."""

    late_most_s: float

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last."""
        return self.sends[-1].at_s if self.sends else 0.0

    @property
    def peak(self) -> int:
        """Most requests within a window of `WINDOW_S`."""
        # In whole units of the trace's clock, where differences are exact.
        unit = 10**TIME_DIGITS
        times, begin, most = [round(send.at_s * unit) for send in self.sends], 0, 0
        for end, at in enumerate(times):
            while times[begin] <= at - WINDOW_S * unit:
                begin += 1
            most = max(most, end - begin + 1)
        return most

    @property
    def prompt_tokens(self) -> int:
        """Of all of them."""
        return sum(send.asked.prompt_tokens for send in self.sends)

    @property
    def output_tokens(self) -> int:
        """Of all of them, at most."""
        return sum(send.asked.output_tokens for send in self.sends)


def plan(trace: Trace, bounds: Bounds) -> Plan:
    """The times: each request's own, or one window after the request that must leave the window first."""
    within = [asked for asked in trace.requests if asked.at_s < bounds.duration_s]
    most = max(1, floor(bounds.max_rate * WINDOW_S))
    sends: list[Send] = []
    for number, asked in enumerate(within):
        free = sends[number - most].at_s + max(WINDOW_S, most / bounds.max_rate) if number >= most else 0.0
        sends.append(Send(number, asked, round(max(asked.at_s, free), TIME_DIGITS)))
    late = [send.at_s - send.asked.at_s for send in sends]
    return Plan(tuple(sends), len(trace) - len(within), sum(lateness > 0 for lateness in late), max(late, default=0.0))


def head(planned: Plan) -> list[str]:
    """What is going to be sent, and which bounds it has met: lines of a word and its text."""
    sent = (
        f"sending   {len(planned.sends):,} requests in {planned.duration_s:,.1f} s, at most {planned.peak} within a "
        f"second; {planned.prompt_tokens:,} prompt tokens, up to {planned.output_tokens:,} output tokens"
    )
    lines = [sent]
    if planned.cut:
        lines.append(f"          {planned.cut:,} requests lie behind the end of --duration and are not sent")
    if planned.held:
        lines.append(
            f"          NOT OPEN LOOP: --max-rate holds {planned.held:,} of them back, by up to "
            f"{planned.late_most_s:,.1f} s"
        )
    return lines
