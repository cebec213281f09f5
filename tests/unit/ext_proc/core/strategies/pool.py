"""A pool of endpoints for the tests of strategies."""

import random
from collections.abc import Sequence

import numpy as np

from ext_proc.core.events import FirstToken, Picked, Scraped
from ext_proc.core.fleet import Fleet
from ext_proc.core.strategies.view import Prompt, Ranking, Strategy, View


class Pool:
    """`size` endpoints at slots 0, 1, …; what is sent and scraped is said by position."""

    def __init__(self, size: int, weights: Sequence[int] | None = None) -> None:
        self.fleet = Fleet()
        self.addresses = [f"10.0.{n // 200}.{n % 200:03}:80" for n in range(size)]
        self.fleet.want(set(self.addresses))
        self.slots = np.array([self.fleet.slots.acquire(address) for address in self.addresses])
        self.weights = np.array(weights or [100] * size, dtype=np.float64)
        self.mean_uncached = 1_000.0
        self.gap_s = 1.0
        self._sent = 0

    def send(
        self, position: int, *, uncached: int = 0, times: int = 1, is_decoding: bool = False, at: float = 0.0
    ) -> None:
        """Picks for an endpoint, with their first token if they are decoding."""
        for _ in range(times):
            self._sent += 1
            name, address = f"d{self._sent}", self.addresses[position]
            pick = Picked(
                decision_id=name, at=at, address=address, uncached_tokens=uncached, prompt_tokens=100, max_age_s=60
            )
            self.fleet.apply(pick, None)
            if is_decoding:
                self.fleet.apply(FirstToken(decision_id=name, address=address, at=0, ttft_ms=1), None)

    def scrape(self, position: int, *, running: int, waiting: int, at: float = 0.0) -> None:
        """An engine's own numbers."""
        self.fleet.apply(Scraped(address=self.addresses[position], at=at, running=running, waiting=waiting), None)

    def view(
        self,
        *,
        turn: int = 0,
        now: float = 0.0,
        tokens: int = 1_000,
        cached: Sequence[int] | None = None,
        charged: Sequence[float] | None = None,
        among: Sequence[int] | None = None,
    ) -> View:
        """The pool, or some positions of it, as a strategy sees it."""
        chosen = np.arange(len(self.slots)) if among is None else np.array(among)
        uncached = np.maximum(1, tokens - np.array(cached or [0] * len(self.slots))[chosen])
        charge = uncached.astype(np.float64) if charged is None else np.array(charged, dtype=np.float64)[chosen]
        prompt = Prompt(tokens, uncached, charge)
        return View(
            self.slots[chosen],
            self.weights[chosen],
            self.fleet,
            now,
            turn,
            self.mean_uncached,
            prompt,
            gap_s=self.gap_s,
        )

    def order(self, strategy: Strategy, view: View, seed: int = 0) -> list[int]:
        """The positions of the whole pool, best first."""
        ranking = strategy.rank(view, random.Random(seed))
        return [int(np.flatnonzero(self.slots == view.slots[position])[0]) for position in ranking.order]

    def chosen(self, strategy: Strategy, view: View, seeds: int = 60) -> set[int]:
        """The best positions over many seeds."""
        return {self.order(strategy, view, seed)[0] for seed in range(seeds)}


def ranked(strategy: Strategy, view: View) -> Ranking:
    """One ranking, with a fixed seed."""
    return strategy.rank(view, random.Random(0))
