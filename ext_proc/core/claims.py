"""What engines' words about the requests of others are worth: found out by the first tokens of own requests.

An engine says how many requests it has. What is beyond the picker's own is somebody else's load
(`ext_proc.core.gauges`), or it is not there at all: a counter that is stuck, a defect, a lie. No number tells these
apart, but a claim can be checked. A first token is predicted without it (`own`), and the claim says how much later it
must come (`claimed`):

    worth = Σ w·(first token − own)/claimed  ÷  Σ w        w = (claimed ÷ (NOISE · (own + worth·claimed)))²

That is the slope of a regression of the surprise on what was claimed; w is the precision of one row, where predictions
miss by `NOISE` of their size. 0: nothing of the claim is there; 1: it is as told; more: others' prompts are longer than
own ones. An endpoint that nobody has checked is worth what the others' claims were, which begins with 1: who has given
no cause for doubt is believed.

*Trials*. Whoever is avoided for his claims is never checked. So a claim is left out of account when its check is due:
at once where there was none yet, and then whenever the pool has earned it. Each request earns `TRIAL_SHARE` of its
predicted first token, shared by all endpoints; a trial costs what is claimed and believed, or what the last one has
cost, if that was more. So trials of true claims cost no more than that share of all first tokens. The request that is
sent is the trial: from then on the claim counts again, until it is answered.

*The first moments*. Until the speed is learned (`ext_proc.core.speed`) predictions are guesses. A claim of many times a
usual first token is refuted by a first token all the same: such rows count, with `NOISE_AT_FIRST`, and the next trial
is due at once. What no row has spoken of is believed all the same: where a picker comes to pods that others keep busy,
each request which doubts them waits for seconds (docs/benchmarks.md has what bounds on such claims would cost).

*What memory says*. But requests that run hold KV memory. Where an engine tells how much of it is used, and that is too
little for the requests of others that it claims, its claims are doubted before any row: they are worth what memory
explains of them. Own requests there hold some of it, between nothing to speak of (they share their prompts) and all
their tokens; what both bounds allow is no news. Doubt weighs as much as one large row, so that rows refute it: it may
be the usage that is wrong. As long as there are none a request tells that was sent on doubt: when it waits for
`PATIENCE` times its first token, claims are believed again until an answer comes.
"""

import math
from typing import Final

import numpy as np

from ext_proc.core.history import MEAN_MEMORY, START_MEAN_TOKENS
from ext_proc.core.slots import FloatArray, IntArray, grown
from ext_proc.core.speed import LEAST_MS

# By what share of their size predictions of first tokens usually miss. 0.3 and 1 made a difference of less than 0.005
# in the mean of 21 loads with true load by others (docs/benchmarks.md).
NOISE: Final = 0.5

# The same while the speed is a guess. What is lost by invented load in the mean of 18 runs that begin cold on slow
# engines: 0.5: 12.7 %, 1: 11.4 %, without such rows 20.7 %; in six of them 1: 13.7 %, 2: 19.2 %.
NOISE_AT_FIRST: Final = 1.0

# No first token counts more than this, however large the claim: about three times as much as the first one beside a
# claim that was believed.
MOST_WEIGHT: Final = 8.0

# Weight of what the others' claims are worth, beside an endpoint's own rows. With 1 a claim of twenty times a usual
# first token outlived its first check, and the second one had to be earned.
PRIOR: Final = 0.25

# Weight of the belief that claims are true, beside the first rows of all endpoints.
START_WEIGHT: Final = 1.0

# What a row weighs after the next one: some ten count. 0.7 made no difference.
MEMORY: Final = 0.9

# What claims are worth at most. 1: 1.003, 2: 0.993, 4: 0.986 in the mean of the same 21 loads; as for an endpoint's
# speed, nobody is believed to be further from the usual.
MOST_WORTH: Final = 4.0

# One row may say so much more or less than is possible: chance goes both ways, and one-sided limits would be a bias.
ROW_SLACK: Final = 1.0

# What is worth less counts for nothing: a tenth of a claim of a thousand requests would still drive everybody away.
LEAST_WORTH: Final = 0.1

# Claims that move a first token by less than this share of it say nothing either way: a row of weight 0.01.
LEAST_PART: Final = 0.05

# From this share of a usual first token on, a claim is large enough to be worth a trial, and a request beside it is
# one.
TRIAL_PART: Final = 0.5

# What trials may cost of all first tokens.
TRIAL_SHARE: Final = 0.01

# Tokens that a running request holds at least, those that it shares with others left out: four blocks of a usual size.
# In the made loads of others a page has 500 tokens or more for each that runs; 16 and 256 made no difference.
LEAST_HELD: Final = 64.0

# What doubt weighs beside the rows. The first of those are compared to guesses, and seem to confirm anything. What is
# lost by three kinds of invented load on slow engines, in the mean of 18 runs that begin cold: 0 and 2: 1.6 %, 4:
# 0.8 %, 8: 0.1 %.
DOUBT: Final = 8.0

# How many times the first token that was predicted is waited for on doubt: as much as an endpoint may be slower than
# the usual one, since at first predictions are guesses. In the same 18 runs 2: 0.5 %, 4: 0.0 %. Where usage is always
# told as 0 and others keep pods busy, first tokens take 1.50 and 1.59 times as long as believed, 2.03 without any limit
# (8 cells, two seeds; before `LATE_S`, which makes no difference there).
PATIENCE: Final = 4.0

# Seconds after which a first token may be told: Envoy's records of a stream under way come every quarter of one.
LATE_S: Final = 0.25

_NEVER: Final = -math.inf


class Claims:
    """The worth of each endpoint's claims, by slot.

    Mutable: all arrays and sums; `sent`, `answered`, `try_again`, `reset` and `grow` are the writers, which only
    `Ledger` calls, and `compare`, which the fleet does.
    """

    def __init__(self, capacity: int) -> None:
        """Starts believing everybody."""
        self.worth: FloatArray = np.ones(capacity)
        """0 to `MOST_WORTH`."""
        self._true = np.zeros(capacity)
        self._weight = np.zeros(capacity)
        # What memory explains of the claims and how much of them is doubted now, 0 to 1, and until when, in seconds.
        self._explained = np.ones(capacity)
        self._doubt = np.zeros(capacity)
        self._doubt_until = np.full(capacity, math.inf)
        # Of all endpoints together.
        self._usual_worth = 1.0
        self._all_weight = START_WEIGHT
        # Milliseconds earned for one endpoint's trials, and how many they were at its last one.
        self._earned_ms = 0.0
        self._tried_ms = np.full(capacity, _NEVER)
        self._lost_ms = np.zeros(capacity)
        self.usual_tokens = START_MEAN_TOKENS
        """Uncached tokens of a usual request; what others have is taken to be like it."""
        self._usual_ms = 0.0

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self.worth):
            self.worth = grown(self.worth, capacity, self._fitted(self._usual_worth))
            self._true = grown(self._true, capacity, 0.0)
            self._weight = grown(self._weight, capacity, 0.0)
            self._explained = grown(self._explained, capacity, 1.0)
            self._doubt = grown(self._doubt, capacity, 0.0)
            self._doubt_until = grown(self._doubt_until, capacity, math.inf)
            self._tried_ms = grown(self._tried_ms, capacity, _NEVER)
            self._lost_ms = grown(self._lost_ms, capacity, 0.0)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self.worth[slot] = self._fitted(self._usual_worth)
        self._true[slot] = self._weight[slot] = self._lost_ms[slot] = 0.0
        self._tried_ms[slot] = _NEVER
        self._explained[slot], self._doubt[slot], self._doubt_until[slot] = 1.0, 0.0, math.inf

    def compare(self, slot: int, at: float, running: float, held: float, own_least: float, own_most: float) -> None:
        """So many requests of others run there, as was told, while `held` tokens of KV memory are used, of which own
        requests hold from `own_least` to `own_most`.

        What waits is doubted as what runs, since it waits for that; where nothing runs, for one request.
        """
        if own_least and not held:
            explained = 1.0  # own requests run there: the usage tells nothing
        else:
            needed = LEAST_HELD * max(1.0, running)
            least, most = (held - own_most) / needed, (held - own_least) / needed
            explained = min(1.0, max(0.0, least, min(most, float(self._explained[slot]))))
        self._explained[slot] = explained
        doubt = 0.0 if at > self._doubt_until[slot] else 1.0 - explained
        if doubt != self._doubt[slot]:
            self._doubt[slot] = doubt
            self.worth = self._weighed()

    def believed(self, slots: IntArray, claimed_ms: FloatArray) -> FloatArray:
        """How much of what `slots` claim is to be believed now; 0 where a trial is due."""
        worth: FloatArray = self.worth[slots]
        believed_ms = worth * claimed_ms
        large = believed_ms > TRIAL_PART * self._usual_ms
        if not self._usual_ms or not large.any():
            return worth
        price_ms = np.maximum(believed_ms, self._lost_ms[slots])
        is_due = large & (self._earned_ms - self._tried_ms[slots] >= price_ms)
        worth[is_due] = 0.0
        return worth

    def sent(self, slot: int, at: float, own_ms: float, claimed_ms: float, uncached: int, among: int) -> None:
        """A request goes there that will have its first token after `own_ms`, or so much later as is claimed.

        There are `among` endpoints, all of which earn by it.
        """
        self._earned_ms += TRIAL_SHARE * own_ms / among
        self._usual_ms += (1 - MEAN_MEMORY) * (own_ms - self._usual_ms) if self._usual_ms else own_ms
        self.usual_tokens += (1 - MEAN_MEMORY) * (uncached - self.usual_tokens)
        if claimed_ms > 0 and claimed_ms >= TRIAL_PART * own_ms:
            self._tried_ms[slot] = self._earned_ms
        if self._doubt[slot]:
            self._doubt_until[slot] = min(float(self._doubt_until[slot]), at + LATE_S + PATIENCE * own_ms / 1e3)

    def try_again(self, slot: int) -> None:
        """What was sent there is no more than half a trial, since how long it should have taken is a guess: the next
        one is due.

        Would claims be obeyed until then, the picker might never learn: requests pile up where nothing is claimed, and
        teach nothing there (`ext_proc.core.speed`).
        """
        self._tried_ms[slot] = _NEVER

    def answered(self, slot: int, own_ms: float, claimed_ms: float, ttft_ms: float, *, is_learned: bool = True) -> None:
        """The first token of such a request came after `ttft_ms`; what is predicted is a guess unless `is_learned`."""
        own_ms = max(LEAST_MS, own_ms)
        self._doubt_until[slot] = math.inf
        if claimed_ms < LEAST_PART * own_ms:
            return
        if claimed_ms >= TRIAL_PART * own_ms:
            self._lost_ms[slot] = max(0.0, ttft_ms - own_ms)
        noise = NOISE if is_learned else NOISE_AT_FIRST
        part = claimed_ms / (noise * (own_ms + float(self.worth[slot]) * claimed_ms))
        weight = min(MOST_WEIGHT, part * part)
        seen = min(MOST_WORTH + ROW_SLACK, max(-ROW_SLACK, (ttft_ms - own_ms) / claimed_ms))
        self._weight[slot] = MEMORY * float(self._weight[slot]) + weight
        true = MEMORY * float(self._true[slot]) + weight * seen
        self._true[slot] = min(MOST_WORTH * float(self._weight[slot]), max(0.0, true))
        self._all_weight = MEMORY * self._all_weight + weight
        usual = self._usual_worth + weight / self._all_weight * (seen - self._usual_worth)
        self._usual_worth = min(MOST_WORTH, max(0.0, usual))
        self.worth = self._weighed()

    def _weighed(self) -> FloatArray:
        """What rows, the others' claims and memory together say."""
        prior = PRIOR + DOUBT * self._doubt
        worth = (self._true + prior * self._usual_worth * (1.0 - self._doubt)) / (self._weight + prior)
        return np.where(worth < LEAST_WORTH, 0.0, worth)

    def _fitted(self, worth: float) -> float:
        return 0.0 if worth < LEAST_WORTH else worth
