"""How fast the endpoints are: learned from the first tokens of what was sent to them.

A request that finds nothing before it has its first token after about

    θ · (1, u, u·(c + u/2), n, h)        milliseconds

u being its uncached tokens and c its cached ones (each new token attends to all before it), n the requests that the
endpoint has already and h the prompt tokens that those hold (every step of a batch reads them). θ is fitted by ridge
regression with forgetting, all endpoints together, to the relative error of requests that had to wait for nobody. By
how much an endpoint is slower or faster than that is a factor of its own. Requests that had to wait teach neither: what
they waited for was work, or memory. Nor do answers in one piece: their first byte is their last, and what generating
them took would drown what their prompts took, so that a prefix in some cache would seem to be worth nothing.

Until `ENOUGH` first tokens are known θ is a guess times what they took in the mean: its ratios are those of a GPU.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from ext_proc.core.slots import FloatArray, grown

# Units in which every coefficient of a GPU is of the order of 1 to 100, so that one ridge suits all.
_UNITS: Final = np.array([1.0, 1e3, 1e6, 10.0, 1e5])

# In these units: 10 ms for a step and a half, 10,000 tokens a second, 1 ns for a pair, 0.1 ms for a request, 50 ns to
# read a token. The coefficients of an H100 with an 8B model are within a factor of five.
GUESS: Final = np.array([10.0, 100.0, 1.0, 1.0, 5.0])

# What the guess, as many times as slow as what was seen, weighs beside the rows, each of which has weight 1: it only
# decides what the rows leave open. Not tuned on the final form.
RIDGE: Final = 1e-3

# θ forgets: about the last thousand rows count. Models change with deployments, not with requests. Not tuned.
MEMORY: Final = 0.999

# The guess stands in for what they leave open. More would come late: under load nearly every request finds another one
# that is not known to have its first token. With 16, first tokens behind one system prompt came 8 % later in a
# prototype; not tuned on the final form.
ENOUGH: Final = 8

# Rows until θ is good enough to tell whether an endpoint differs from it.
SETTLED: Final = 100

# Solving takes longer than adding a row, and θ hardly moves from one row to the next.
SOLVE_EVERY: Final = 8

# A factor forgets faster: about the last fifty requests of its endpoint count, in the mean of logarithms.
FACTOR_SHARE: Final = 0.02

# Requests' worth of believing that an endpoint is like the others. With 5, noise made pods of one kind look different.
FACTOR_PRIOR: Final = 20.0

# One request tells at most that an endpoint is so many times slower or faster, and nobody is believed to be more.
MOST_FACTOR: Final = 4.0

# An endpoint that is suddenly another one (a GPU that throttles, a restart on other hardware) is noticed by so many
# first tokens in a row that take so many times as long as was believed of it, or so many times less; then they count
# for all that was known of it, as if they had been `JUMP_WEIGHT` ones. Less is wanted for the way back, since nobody is
# believed to be slower than `MOST_FACTOR`. Noise of one kind of pods seldom reaches 2, let alone three times in a row.
SURPRISE: Final = 5.0
RELIEF: Final = 2.5
SURPRISES: Final = 3
JUMP_WEIGHT: Final = 20.0

# Below this, times are noise of the clock and the network.
LEAST_MS: Final = 1.0

_SIZE: Final = len(GUESS)


class Pace(NamedTuple):
    """What is particular about one endpoint: its factor, and what that rests on."""

    factor: float
    logs: float
    weight: float


class Speed:
    """θ and the endpoints' factors.

    Mutable: the sums of the regression, θ, and the factors by slot; `learn`, `reset`, `resume`
    and `grow` are the writers.
    """

    def __init__(self, capacity: int) -> None:
        """Start with the guess."""
        self.rows = 0
        self.factor: FloatArray = np.ones(capacity)
        self._logs = np.zeros(capacity)
        self._weights = np.zeros(capacity)
        self._surprises: dict[int, tuple[bool, tuple[float, ...]]] = {}
        self._scale_log = 0.0
        self._squares = np.zeros((_SIZE, _SIZE))
        self._products = np.zeros(_SIZE)
        self.base_ms: float
        self.token_ms: float
        self.pair_ms: float
        self.request_ms: float
        self.held_ms: float
        self._set(GUESS)

    @property
    def is_learned(self) -> bool:
        """Whether milliseconds can be believed."""
        return self.rows >= ENOUGH

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self.factor):
            self.factor = grown(self.factor, capacity, 1.0)
            self._logs = grown(self._logs, capacity, 0.0)
            self._weights = grown(self._weights, capacity, 0.0)

    def reset(self, slot: int) -> None:
        """Forgets what is particular about an endpoint."""
        self.resume(slot, Pace(1.0, 0.0, 0.0))

    def pace(self, slot: int) -> Pace:
        """What is particular about an endpoint, for `resume`."""
        return Pace(float(self.factor[slot]), float(self._logs[slot]), float(self._weights[slot]))

    def resume(self, slot: int, pace: Pace) -> None:
        """Goes on with what was known of an endpoint before it was reset."""
        self.factor[slot], self._logs[slot], self._weights[slot] = pace
        self._surprises.pop(slot, None)

    def prefill_ms(self, uncached: int, tokens: int) -> float:
        """What a prompt of `tokens` adds to the work of an endpoint of factor 1."""
        return self.token_ms * uncached + self.pair_ms * uncached * (tokens - uncached / 2)

    def step_ms(self, requests: float, held: float) -> float:
        """What a first token takes beside its prefill, on an endpoint of factor 1 that holds so much."""
        return self.base_ms + self.request_ms * requests + self.held_ms * held

    def learn(
        self,
        slot: int,
        ttft_ms: float,
        *,
        wait_ms: float,
        uncached: int,
        tokens: int,
        requests: float,
        held: float,
    ) -> None:
        """Takes in one first token, with what the endpoint had when its request was sent there."""
        ttft_ms = max(LEAST_MS, ttft_ms)
        own_ms = max(LEAST_MS, self.prefill_ms(uncached, tokens) + self.step_ms(requests, held))
        factor = float(self.factor[slot])
        if wait_ms > 0:
            return
        if self.rows >= SETTLED:
            self._judge(slot, ttft_ms / own_ms)
        row = np.array([1.0, uncached, uncached * (tokens - uncached / 2), requests, held]) / _UNITS
        alone_ms = ttft_ms / factor
        # Relative errors: by what was measured while the guess says nothing, then by the mean of both, since weights
        # by the measurement alone would favour requests that were lucky.
        weight = (alone_ms if not self.is_learned else (alone_ms + own_ms) / 2) ** -2
        self._squares += (MEMORY - 1) * self._squares + np.outer(weight * row, row)
        self._products += (MEMORY - 1) * self._products + (weight * alone_ms) * row
        self.rows += 1
        self._scale_log += (math.log(alone_ms / float(row @ GUESS)) - self._scale_log) / min(self.rows, ENOUGH)
        if self.rows < ENOUGH:
            self._set(math.exp(self._scale_log) * GUESS)
        elif self.rows % SOLVE_EVERY == 0:
            self._solve()

    def as_dict(self) -> dict[str, float | int]:
        """JSON values: θ in its own units, and the rows that it rests on."""
        return {
            "rows": self.rows,
            "base_ms": round(self.base_ms, 3),
            "ms_per_1k_tokens": round(1e3 * self.token_ms, 3),
            "ms_per_1m_pairs": round(1e6 * self.pair_ms, 3),
            "ms_per_request": round(self.request_ms, 4),
            "ms_per_1k_held_tokens": round(1e3 * self.held_ms, 4),
        }

    def _judge(self, slot: int, ratio: float) -> None:
        """Takes in how many times as long as on an endpoint of factor 1 something took."""
        most = math.log(MOST_FACTOR)
        log = min(most, max(-most, math.log(ratio)))
        self._logs[slot] += log - FACTOR_SHARE * self._logs[slot]
        self._weights[slot] += 1.0 - FACTOR_SHARE * self._weights[slot]
        self._notice(slot, ratio, log)
        logs = self._logs / (self._weights + FACTOR_PRIOR)
        # θ speaks for the usual endpoint: what all have in common is its part.
        seen = self._weights > 0
        logs[seen] -= np.median(logs[seen])
        np.exp(np.clip(logs, -most, most), out=self.factor)

    def _notice(self, slot: int, ratio: float, log: float) -> None:
        """Whether an endpoint has become another one."""
        surprise = ratio / float(self.factor[slot])
        if 1.0 / RELIEF < surprise < SURPRISE:
            self._surprises.pop(slot, None)
            return
        is_slower = surprise > 1
        was_slower, logs = self._surprises.get(slot, (is_slower, ()))
        logs = (*logs, log) if was_slower is is_slower else (log,)
        self._surprises[slot] = is_slower, logs
        if len(logs) >= SURPRISES:
            self._weights[slot] = JUMP_WEIGHT
            self._logs[slot] = (JUMP_WEIGHT + FACTOR_PRIOR) * min(logs, key=abs)
            del self._surprises[slot]

    def _solve(self) -> None:
        """Fits θ; a coefficient that would come out negative is left out, since nothing takes less than no time."""
        center = math.exp(self._scale_log) * GUESS
        squares, products = self._squares + np.diag(RIDGE / center**2), self._products + RIDGE / center
        kept = np.arange(_SIZE)
        while len(kept):
            found = np.linalg.solve(squares[np.ix_(kept, kept)], products[kept])
            if (found >= 0).all():
                theta = np.zeros(_SIZE)
                theta[kept] = found
                self._set(theta)
                return
            kept = kept[found >= 0]

    def _set(self, theta: FloatArray) -> None:
        self.base_ms, self.token_ms, self.pair_ms, self.request_ms, self.held_ms = (theta / _UNITS).tolist()
