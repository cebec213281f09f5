"""The "unified" rule of a study on agentic work: stay with the session's pod while that is not clearly worse.

Source: the public agentic-kvc study (8 × H20, agent sessions), policy `unified`: the pod that served the session last
while its LMETRIC score is at most `AFFINITY_FACTOR` × the least one, else LMETRIC. The study has a session header.
Where a trace has none, a prompt belongs to the longest earlier prompt that it continues; that is ours, so that the rule
is itself on such traces.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence

from sim.baselines.lmetric import Lmetric, lmetric
from sim.baselines.rule import Key, Option
from sim.virtual.router import Context, RoutedRequest

AFFINITY_FACTOR = 2.0

MAX_HOMES = 100_000
"""Ours, so that a long replay stays small; more sessions than any trace has open at once."""


class Unified(Lmetric):
    """A sticky session with a bound, over LMETRIC."""

    name = "unified"

    def __init__(self, context: Context) -> None:
        """Start cold. What changes beside the base: the last endpoint of each session or prompt."""
        super().__init__(context)
        self._homes: OrderedDict[str | int, str] = OrderedDict()

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(not the session's pod within bounds?, the score)."""
        scores = [lmetric(option) for option in options]
        bound = AFFINITY_FACTOR * min(score[0] for score in scores)
        home = self._home(request)
        return [
            (float(option.address != home or score[0] > bound), *score)
            for option, score in zip(options, scores, strict=True)
        ]

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """Remember where the session went."""
        if request.session or request.blocks:
            key = request.session or request.blocks[-1]
            self._homes[key] = option.address
            self._homes.move_to_end(key)
            if len(self._homes) > MAX_HOMES:
                self._homes.popitem(last=False)

    def _home(self, request: RoutedRequest) -> str | None:
        if request.session:
            return self._homes.get(request.session)
        return next((self._homes[block] for block in reversed(request.blocks) if block in self._homes), None)
