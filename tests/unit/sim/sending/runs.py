"""Live runs by their numbers."""

from typing import Any

from sim.sending.outcomes import Answered, Run, Sent
from sim.sending.plan import Bounds, plan
from sim.traces.trace import Trace, TraceRequest

GOOD = Answered(
    status=200, is_ok=True, ttft_s=0.5, e2e_s=1.5, prompt_tokens=100, cached_tokens=40, output_tokens=11, pod="a"
)


def run(*answered: Answered, late_s: float = 0.0, unfinished: int = 0, max_rate: float = 10.0, **values: Any) -> Run:
    """A request a second, answered so; those without an end come last."""
    count = len(answered) + unfinished
    requests = tuple(TraceRequest(float(n), (), 100, 11, session=f"s{n}", model="m") for n in range(count))
    planned = plan(Trace("t", 16, requests), Bounds(max_rate=max_rate))
    sent = tuple(Sent(send, late_s, one) for send, one in zip(planned.sends, answered, strict=False))
    return Run(planned, sent, unfinished, **{"in_flight_most": 1, "waited": 0, **values})
