"""What answers have taught, beside what is known of each endpoint: lengths of prompts by model, and trust by pool.

It outlives settings, as `ext_proc.core.history` does. A request teaches where one endpoint answered it, the first that
was named: of others it is not known what they were believed to hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.core.events import RequestEnded, Scraped
from ext_proc.core.record import Record
from ext_proc.core.settings import PoolSettings
from ext_proc.core.token_sizes import MOST_OVERHEAD, TokenSizes
from ext_proc.core.truth import Change, Truth, Verdict

# Anthropic's `input_tokens` leave out what came from the cache, at Anthropic and at some engines.
_UNCOUNTED = "messages"

# An engine that counts so many times more or fewer tokens than were expected, beside what its template may add, is
# wrong, or was asked something that is no text: nothing follows from its numbers.
MOST_OFF = 8.0


class Learned:
    """Mutable: its parts; the picker is the only writer."""

    def __init__(self) -> None:
        self.sizes = TokenSizes()
        self._truths: Mapping[str, Truth] = {}
        self._of_address: dict[str, list[Truth]] = {}

    def want(self, pools: Sequence[PoolSettings]) -> None:
        """Says which pools there are from now on."""
        self._truths = {pool.name: self._truths.get(pool.name) or Truth(pool.name) for pool in pools}
        self._of_address = {}
        for pool in pools:
            truth = self._truths[pool.name]
            truth.is_acting = pool.distrusts
            truth.keep({endpoint.address for endpoint in pool.endpoints})
            for endpoint in pool.endpoints:
                self._of_address.setdefault(endpoint.address, []).append(truth)

    def truth(self, pool: str) -> Truth:
        """How far the prefix index can be trusted there; raises KeyError for a pool that there is not."""
        return self._truths[pool]

    def scraped(self, event: Scraped) -> None:
        """An engine showed its counters. Those of one in several pools are no pool's own."""
        truths = self._of_address.get(event.address, ())
        if len(truths) == 1:
            truths[0].scraped(event)

    def hears(self, address: str) -> bool:
        """Whether what an endpoint tells of its blocks is believed, in all of its pools."""
        return all(truth.hears(address) for truth in self._of_address.get(address, ()))

    def cleared(self, address: str) -> None:
        """An endpoint's cache is empty."""
        for truth in self._of_address.get(address, ()):
            truth.cleared(address)

    def ended(self, event: RequestEnded, record: Record, *, is_precise: bool = False) -> list[str]:
        """A request is over, of which the decision is still known; the endpoint tells of its blocks if `is_precise`.

        Gives the endpoints that are not listened to from now on.
        """
        is_simple = event.attempts <= 1 and event.served == record.endpoints[0] and not event.aborted
        if not is_simple or not 200 <= event.status < 300:
            return []
        shape, held = record.request, record.predicted.held_tokens
        counted = None if shape.kind == _UNCOUNTED else event.prompt_tokens
        if counted and shape.size:
            self.sizes.learn(shape.engine_model, shape.size, counted)
        truth = self._truths.get(record.pool)
        if truth is None or held is None:
            return []
        if counted and not shape.tokens / MOST_OFF <= counted <= shape.tokens * MOST_OFF + MOST_OVERHEAD:
            return []
        truth.ended(event, held, shape.tokens, counted, kind=shape.kind, is_precise=is_precise)
        return truth.take_deafened()

    def take_news(self) -> list[Change]:
        """Which verdicts changed since the last question."""
        return [change for truth in self._truths.values() for change in truth.take_news()]

    def doubt(self, pool: str) -> tuple[str, str, float, str] | None:
        """(pool, verdict, trust, why) where what is believed of its caches is found wrong, and acted upon."""
        truth = self._truths[pool]
        judge = truth.judge
        is_wrong = truth.is_acting and judge.verdict in (Verdict.OVER, Verdict.UNDER)
        return (pool, judge.verdict.value, judge.trust, judge.why) if is_wrong else None

    def status(self, pool: str) -> dict[str, Any]:
        """JSON values of one pool."""
        return self._truths[pool].as_dict()
