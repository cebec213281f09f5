"""`kv-aware`: the least cost in tokens, for this request and for the others.

    cost = (Q + u) + α·n·u + φ·u·(Q + u/2) / mean(u)

u are the tokens of the prompt that the endpoint would have to compute, Q the uncached tokens that stand before it
there, n the requests decoding there. The first term is this request's wait, the second what its prefill stalls the
decoding ones, the third what it delays later arrivals (from the value function of an M/G/1 queue). Scraped load of
others is added to n, and to Q as the usual mean(u) for each waiting request.

Two rules of our own around it:

- *A prefix that everybody shares* is charged amortised. Where at least `COMMON_FAN_OUT` distinct prompts continue a
  prefix, an endpoint that lacks it is charged only missing ÷ fan-out, since the copy will serve as many later requests
  again. So unrelated questions behind one system prompt spread over the pool, even when they come one after another,
  while a conversation, whose own history has one continuation, stays where it is. What enters the ledger is the full u.
- *Near ties*: costs within one block of the least are taken as equal; then the fewest in flight wins, then who was not
  picked for the longest time (new prefixes spread over the caches), then chance.

And one guard, after consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2017): an endpoint with many
more requests in flight than the pool's mean comes last, whatever it holds; engines with few slots spill early.
"""

import random

import numpy as np

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.index import Match
from ext_proc.core.slots import BoolArray, FloatArray, IntArray
from ext_proc.core.strategies.view import Prompt, Ranking, View, best_first, jitter

needs_prompt = True

# α: share of a prefill that each decoding request loses by it (chunked prefill interleaves the rest). 0 lengthened
# end-to-end times by 13–25 % in simulation, 1 first tokens by up to 13 %.
STALL_SHARE = 0.2

# φ: weight of the delay of later arrivals; without it first tokens came 2–9 % later.
LATER_ARRIVALS = 1.0

# What the least mean(u) may be: a pool where nearly everything is cached would otherwise magnify every difference.
LEAST_MEAN_TOKENS = float(BLOCK_TOKENS)

# Costs closer than one block say nothing: matches are only known in whole blocks.
NEAR_TOKENS = float(BLOCK_TOKENS)

# Bounded load: at most twice the mean, and room for a small burst where the mean is small. Loose, since Q and n already
# price load; it is for engines whose queue the formula misjudges.
LOAD_FACTOR = 2.0
LOAD_ROOM = 8.0

# Seconds within which two last picks count as equally long ago.
_INSTANT = 1e-6

# Far above any cost in tokens; keys near it keep a resolution of 1e-4, enough for counts and for breaking ties.
_LAST = 1e12


def prompt_of(tokens: int, match: Match, depths: IntArray) -> Prompt:
    """A prompt of `tokens` against endpoints that hold `depths` blocks of it.

    At least one token is always computed: engines need the logits of the last one.
    """
    uncached = np.maximum(1, tokens - depths * BLOCK_TOKENS)
    charged = uncached.astype(np.float64)
    if match.common_blocks:
        missing_common = np.maximum(0, match.common_blocks - depths) * float(BLOCK_TOKENS)
        charged = np.maximum(1.0, charged - missing_common * (1.0 - 1.0 / match.fan_out))
    return Prompt(tokens, uncached, charged)


def rank(view: View, rng: random.Random) -> Ranking:
    """Least cost first; raises ValueError without a prompt."""
    if view.prompt is None:
        raise ValueError("kv-aware needs the prompt")
    slots, charged = view.slots, view.prompt.charged
    in_flight = view.fleet.ledger.in_flight[slots]
    queued: FloatArray | IntArray = view.fleet.ledger.queued_tokens[slots]
    decoding: FloatArray | IntArray = view.fleet.ledger.decoding[slots]
    load: FloatArray | IntArray = in_flight
    mean = max(view.mean_uncached, LEAST_MEAN_TOKENS)
    if view.fleet.gauges.has_foreign:
        waiting, running = view.fleet.gauges.foreign(slots, view.now)
        queued = queued + waiting * mean
        decoding = decoding + running
        load = in_flight + waiting + running
    cost = queued + charged
    cost += STALL_SHARE * decoding * charged
    cost += (LATER_ARRIVALS / mean) * charged * (queued + charged / 2)
    order = best_first(_key(cost, load, view.fleet.ledger.picked_at[slots], rng))
    best = int(order[0])
    terms = {
        "cached_tokens": view.prompt.tokens - view.prompt.uncached,
        "uncached_tokens": view.prompt.uncached,
        "charged_tokens": charged,
        "queued_tokens": queued,
        "decoding": decoding,
        "in_flight": in_flight,
    }
    return Ranking(order, cost, _reason(view.prompt, float(queued[best]), view.address(best), best), terms)


def _key(cost: FloatArray, load: FloatArray | IntArray, picked_at: FloatArray, rng: random.Random) -> FloatArray:
    """What to sort by: near ties by load, age of the last pick and chance; then others by cost; then the overloaded."""
    over: BoolArray = load > LOAD_FACTOR * (load.sum() / len(load)) + LOAD_ROOM
    if over.any():
        cost = np.where(over, cost + _LAST, cost)
    near = cost <= cost.min() + NEAR_TOKENS
    chance = jitter(len(cost), rng)
    # Costs are positive, so what is near sorts before everything else.
    key: FloatArray = np.where(near, load + chance - _LAST, cost)
    idlest = near & (load < load[near].min() + 1)
    if idlest.sum() > 1:
        # Only the first place is settled by age: the others are named for retries, where chance is as good.
        key[np.argmin(np.where(idlest, picked_at + _INSTANT * chance, np.inf))] = -2 * _LAST
    return key


def _reason(prompt: Prompt, queued: float, address: str, position: int) -> str:
    cached = prompt.tokens - int(prompt.uncached[position])
    return f"cache: {cached:,} of {prompt.tokens:,} tokens on {address}, queue {queued:,.0f}"
