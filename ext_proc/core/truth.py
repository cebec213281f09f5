"""Whether the prefix index is right: what it believed to be cached against what engines found, and what follows.

For each request that one endpoint answered there are three numbers: the tokens that the index believed to be cached
there (*believed*, before any discount), those that the engine says it found (`usage`, *found*), and the prompt's. They
are added up in *windows* of about `WINDOW` requests, and a window ends with a finding:

- **over**: engines find less than `BAD` of what was believed. Their prefix caching is off, their blocks or hashes are
  others than was assumed, or they evict much earlier.
- **under**: they find more than `UNDER` times as much. Others fill the caches; picks could do better, and no worse.
- **fine** otherwise, or **untold**: too few answers say what was found (streams do so only when they are asked to,
  vLLM only with `--enable-prompt-tokens-details`). Then the engines' own counters stand in, as long as most of what
  they count can have come from here.

A pool that is *over* falls back by itself: what the index believes counts only for the share of it that was found, for
nothing where that is next to nothing (then the strategy looks at load alone). The index goes on believing, so that the
next windows tell when it is right again; that takes `GOOD`, more than it took not to be called wrong. Endpoints are
judged as well, each for itself: one that has a finding of its own is discounted by that, whatever its pool is.

An endpoint that tells of its blocks itself (KV events) falls back in two steps. When it, or its pool, is *over* or
*under* (its tokens or hashes are others than ours: nothing that it tells matches), it is not listened to any more, and
the index believes what picks have made likely, as without events; what is still wrong then is discounted. It is
listened to again when its cache is empty the next time: from there on what it tells is complete.

Pure: `ended` and `scraped` are told what happened, `trust` is asked at each pick.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ext_proc.core.events import RequestEnded, Scraped
from ext_proc.core.judge import Judge, Verdict
from ext_proc.core.slots import FloatArray

__all__ = ["Change", "Truth", "Verdict"]

# Endpoints that a sentence names.
MAX_NAMED: Final = 4

# Changes that nobody has fetched yet; more at once say the same.
MAX_NEWS: Final = 64


@dataclass(frozen=True, slots=True)
class Change:
    """A new verdict about a pool, or one of its endpoints; `why` is for people."""

    pool: str
    endpoint: str
    was: Verdict
    verdict: Verdict
    trust: float
    why: str


class Truth:
    """The judge of a pool, those of its endpoints, and the totals.

    With `is_acting` False nothing is ever discounted: it is only told. Mutable: all of it; `ended`, `scraped`, `keep`
    and `take_news` are the writers.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.judge = Judge()
        self.is_acting = True
        self.believed = self.found = self.cached = 0
        self._endpoints: dict[str, Judge] = {}
        self._doubted: set[str] = set()  # endpoints whose own trust is below 1
        self._counters: dict[str, tuple[int | None, int, int]] = {}
        self._telling: set[tuple[str, str]] = set()  # endpoints, and the kinds of requests of which they tell
        self._precise: set[str] = set()  # of these the last belief rested on their own events
        self._deaf: set[str] = set()  # to whose events nobody listens
        self._deafened: list[str] = []
        self._news: list[Change] = []

    def keep(self, addresses: Set[str]) -> None:
        """Forgets who is not among the pool's endpoints any more."""
        for gone in self._endpoints.keys() - addresses:
            del self._endpoints[gone]
        for gone in self._counters.keys() - addresses:
            del self._counters[gone]
        self._telling = {each for each in self._telling if each[0] in addresses}
        self._precise &= addresses
        self._deaf &= addresses
        self._doubted &= addresses

    def ended(
        self,
        event: RequestEnded,
        believed: int,
        prompt: int,
        counted: int | None,
        *,
        kind: str = "",
        is_precise: bool = False,
    ) -> None:
        """A request of this kind was answered by the endpoint that it was given to.

        Of about `prompt` tokens `believed` were believed to be cached there; `counted` is what the engine says that the
        prompt had, where that is known. `is_precise`: the endpoint tells of its blocks itself.
        """
        address, found = event.served, event.cached_tokens
        is_heard = is_precise and address not in self._deaf
        (self._precise.add if is_heard else self._precise.discard)(address)
        if found:
            self._telling.add((address, kind))
        elif found is None and event.prompt_tokens is not None and (address, kind) in self._telling:
            found = 0  # vLLM leaves a zero out of its `usage` (its issue 44377)
        if counted:
            believed, prompt = round(believed * counted / max(1, prompt)), counted
        if found is not None:
            self.believed += believed
            self.found += min(believed, found)
            self.cached += found
        judge = self._endpoints.get(address)
        if judge is None:
            judge = self._endpoints[address] = Judge()
        self._judged(judge, address, believed, prompt, found)
        self._judged(self.judge, "", believed, prompt, found)

    def scraped(self, event: Scraped) -> None:
        """An endpoint of the pool showed its counters; one that went back is that of a new process."""
        if event.prefix_queries is None or event.prefix_hits is None:
            return
        now = (event.prompt_tokens, event.prefix_queries, event.prefix_hits)
        before = self._counters.get(event.address)
        self._counters[event.address] = now
        if before is None:
            return
        queries, hits = now[1] - before[1], now[2] - before[2]
        prompts = queries if now[0] is None or before[0] is None else now[0] - before[0]
        if min(queries, hits, prompts) < 0 or hits > queries:
            return
        self.judge.counted(prompts, queries, hits)
        if event.address in self._endpoints:
            self._endpoints[event.address].counted(prompts, queries, hits)

    def trust(self, addresses: Iterable[str]) -> FloatArray | None:
        """What a token that is believed cached counts for at each of them; None: all of it, everywhere."""
        if not self.is_doubting:
            return None
        usual = self.judge.trust
        return np.array([self._trust_of(address, usual) for address in addresses])

    @property
    def is_doubting(self) -> bool:
        """Whether `trust` makes any difference."""
        return self.is_acting and (self.judge.trust != 1.0 or bool(self._doubted))

    def hears(self, address: str) -> bool:
        """Whether what an endpoint tells of its blocks is believed."""
        return address not in self._deaf

    def cleared(self, address: str) -> None:
        """Its cache is empty: what it tells from now on is complete, and may be right."""
        if address in self._deaf:
            self._deaf.discard(address)
            self._endpoints.pop(address, None)
            self._doubted.discard(address)

    def take_deafened(self) -> list[str]:
        """Endpoints that are not listened to since the last question: the index must begin anew with them."""
        deafened, self._deafened = self._deafened, []
        return deafened

    def take_news(self) -> list[Change]:
        """What changed since the last question, oldest first."""
        news, self._news = self._news, []
        return news

    def as_dict(self) -> dict[str, Any]:
        """JSON values; of the endpoints those that are not as they should be."""
        return {
            **self.judge.as_dict(),
            "is_acting": self.is_acting,
            "believed_tokens": self.believed,
            "found_tokens": self.found,
            "cached_tokens": self.cached,
            "events_ignored": sorted(self._deaf),
            "endpoints": {
                address: judge.as_dict()
                for address, judge in sorted(self._endpoints.items())
                if judge.verdict in (Verdict.OVER, Verdict.UNDER)
            },
        }

    def _trust_of(self, address: str, usual: float) -> float:
        judge = self._endpoints.get(address)
        return usual if judge is None or judge.share is None else judge.trust

    def _judged(self, judge: Judge, address: str, believed: int, prompt: int, found: int | None) -> None:
        was = judge.verdict
        if not judge.ended(believed, prompt, found):
            return
        if judge.verdict in (Verdict.OVER, Verdict.UNDER) and self.is_acting:
            self._stop_listening(judge, {address} if address else self._precise)
        if address:
            (self._doubted.add if judge.trust < 1.0 else self._doubted.discard)(address)
        if was is not judge.verdict and len(self._news) < MAX_NEWS:
            self._news.append(Change(self._pool, address, was, judge.verdict, judge.trust, judge.why))

    def _stop_listening(self, judge: Judge, addresses: Set[str]) -> None:
        deafened = sorted(self._precise & addresses)
        if not deafened:
            return
        self._precise -= addresses
        self._deaf.update(deafened)
        self._deafened += deafened
        for each in (self.judge, *(self._endpoints[address] for address in deafened if address in self._endpoints)):
            each.begin_anew()
        judge.why += f"; KV events are ignored until the cache is empty again: {', '.join(deafened[:MAX_NAMED])}"
