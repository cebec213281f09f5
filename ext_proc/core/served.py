"""What endpoints have served, counted from the same events that the rest is learned from. Pure.

    served = Served()
    served.apply(event)                 # each event, after the picker has taken it
    served.take()                       # what has come since the last time, by address

*Work* is counted in generated tokens: they take most of a request's time, and requests differ in them by a factor of a
thousand. A prompt token that was computed counts as `PROMPT_TOKEN` of one; of a request whose tokens nobody told the
usual work is assumed. Refusals (4xx) are quick and say nothing; failures are counted as in `ext_proc.core.latency`:
every try of its own, a full engine's 429 and 503 included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ext_proc.core.events import Event, FirstToken, RequestEnded
from ext_proc.core.latency import sample_of

PROMPT_TOKEN: Final = 0.01
"""A GPU computes about a hundred prompt tokens in the time of one step of generation (10,000 tokens a second against
10 ms; `ext_proc.core.speed` has the same as its first guess)."""

USUAL_WORK: Final = 200.0
"""Of a request while no engine has told any tokens: any number would do, as it is the same for all."""

MEMORY: Final = 0.98
"""Of the usual work: about the last fifty requests count."""

MAX_ADDRESSES: Final = 20_000
"""Beyond it new addresses are not counted: twice the largest fleet that is planned for."""


@dataclass(slots=True)
class Count:
    """What one endpoint has served: `work` by `requests` that went well, and tries that failed. Mutable: the sums."""

    work: float = 0.0
    requests: int = 0
    failed: int = 0


class Served:
    """Mutable: the counts by address, and the usual work; `apply` and `take` write."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}
        self._usual = USUAL_WORK

    def apply(self, event: Event) -> None:
        """Counts one event, if it is the end of something."""
        if isinstance(event, FirstToken):
            return
        sample = sample_of(event, None)
        if sample is None or sample.is_error is None:
            return
        if sample.is_error:
            self._count(sample.address).failed += 1
        elif isinstance(event, RequestEnded) and event.status < 400:
            count = self._count(event.served)
            count.requests += 1
            count.work += self._work(event)

    def take(self) -> Mapping[str, Count]:
        """All counts since the last question."""
        counts, self._counts = self._counts, {}
        return counts

    def _count(self, address: str) -> Count:
        known = self._counts.get(address)
        if known is not None:
            return known
        made = Count()
        if len(self._counts) < MAX_ADDRESSES:
            self._counts[address] = made
        return made

    def _work(self, event: RequestEnded) -> float:
        if event.completion_tokens is None:
            return self._usual
        computed = max(0, (event.prompt_tokens or 0) - (event.cached_tokens or 0))
        work = event.completion_tokens + PROMPT_TOKEN * computed
        self._usual += (1.0 - MEMORY) * (work - self._usual)
        return max(1.0, work)
