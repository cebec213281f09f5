"""`kv-aware`: the least cost in milliseconds, for this request and for the others.

    cost = wait + burden + step + crowd + STALL·n·r·burden + LATER·λ·burden·(wait + burden/2) + charges

*wait* is the prefill work before this prompt (`ext_proc.core.backlog`), *prefill* its own: only of the tokens that the
endpoint does not hold (`ext_proc.core.index`). *step* is what a first token takes beside that. The part of it that
comes from the requests that are there counts `CROWD` times in all, the rest of that as *crowd*: this request does to
later ones what those do to it, and more where memory gets scarce. The next term is what its prefill stalls the n that
are there, and r times that where r times as much prefill as in the pool's mean came in the last seconds
(`ext_proc.core.prefills`): who has lost much already can bear less. Without r the sum of all stalls is less, and a few
bear it: long prompts go where few decode, and short ones avoid the wait there, so that few decode there, slowly. The
last term is how much later the first tokens of those come that arrive before it is done, λ of them per millisecond.
(The value function of an M/G/1 queue has 1/(1 − ρ) there: whom those delay in turn, and so on. Here they go elsewhere.)

Times are predicted from what was learned of these endpoints (`ext_proc.core.speed`), each with its own factor; before
enough was learned, from a guess, whose ratios make the cost one in tokens: then the account of work has no clock to go
by, and everything counts as waiting that has no first token yet. Scraped load of others is added to n, and to the wait
as the usual prefill for each waiting request, all as far as it has proved true (`ext_proc.core.claims`). *charges* are
those beside work (`ext_proc.core.charges`).

*burden* is what counts of the prefill. A part of it may copy a popular prefix: one that at least `COMMON_FAN_OUT`
distinct prompts continue (`ext_proc.core.index`). Whoever comes with that prefix later finds it there, so they bear
the share `SHARED` of the copy, and this request the rest (`shared_ms` is the difference to *prefill*). Without that a
system prompt stays where it was first: each single question finds it too dear to compute it elsewhere, although
together they would be better off. How many copies there are follows from the load. Where nearly all of the pool's
prompts begin alike (`History.is_everybodys`) nothing is charged for a copy of that beginning, since it will serve all
later requests there; so they spread over the pool even when they come one after another. What enters the account of
work is the full u. Both are our own.

*Near ties*: costs within `NEAR_MS` of the least are taken as equal; then the fewest in flight wins, then who was not
picked for the longest time (new prefixes spread over the caches), then chance.

And one guard, after consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2017): an endpoint with many
more requests in flight than the pool's mean comes last, whatever it holds; engines with few slots spill early.
"""

import random

import numpy as np

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.charges import beside
from ext_proc.core.index import Match
from ext_proc.core.slots import BoolArray, FloatArray, IntArray
from ext_proc.core.speed import Speed
from ext_proc.core.strategies.view import Prompt, Ranking, View, best_first, jitter

needs_prompt = True

# The weights were tuned on replays of six loads (the Mooncake conversation trace and made chats, documents, agents,
# system prompts, bursts) at loads of 0.5, 0.7 and 0.85 of eight engines, with two seeds, of which one served to find
# faults as well. The figures are geometric means of the mean time to first token over the best published rule of each
# cell.

# Share of a copy that later requests bear. Tuned on agents, system prompts and bursts at 0.7 and 1.0 of the knees of
# two kinds of engines, two seeds. 0 (nobody bears it): 1.118, 0.6: 0.975, 0.7: 0.958, 0.8: 0.953. With 1 (it costs
# nothing) all copy at once, and slow engines took 1.3 times as long to first tokens.
SHARED = 0.75

# How often the delay counts that the requests on an endpoint are to each first token there. 2: 0.987, 4: 0.985; 8 was
# worse than 4 by 0.007.
CROWD = 4.0

# Share of a prefill that each request there loses by it (chunked prefill interleaves the rest). On the Azure trace at
# the knee of fast engines and above it, three seeds: 0.35: 0.804 and goodput 0.970 of the oracle's, 0.5: 0.800 and
# 0.981; on agents, bursts and documents of slow engines 0.938 and 0.927. Without r goodput is 0.95 with either.
STALL = 0.5

# Milliseconds of prefill in the last seconds that tell nothing, as in `ext_proc.core.speed`: where nobody got more, all
# are alike.
LEAST_PREFILL_MS = 1.0

# Weight of the delay of later arrivals. 1: worse by 0.008, 4: by 0.013. All of these were tuned with 1/(1 − ρ) in that
# term, ρ at most 0.9: 0.957 over all cells and 1.11 in the worst one, 0.954 and 1.08 without.
LATER = 2.0

# The least time between two arrivals that is believed.
LEAST_GAP_MS = 1e-3

# Costs closer than this say nothing: a step of a batch takes longer. 0 and 2 were worse in a prototype; not tuned on
# the final form.
NEAR_MS = 0.5

# Bounded load: at most twice the mean, and room for a small burst where the mean is small. Loose, since the cost
# prices load already; it is for engines whose queue the formula misjudges.
LOAD_FACTOR = 2.0
LOAD_ROOM = 8.0

# Seconds within which two last picks count as equally long ago.
_INSTANT = 1e-6

# Far above any cost in milliseconds; keys near it keep a resolution of 1e-4, enough for counts and for breaking ties.
_LAST = 1e12


def prompt_of(
    tokens: int,
    match: Match,
    depths: IntArray,
    *,
    is_everybodys: bool = False,
    block_tokens: float = float(BLOCK_TOKENS),
    trust: FloatArray | None = None,
) -> Prompt:
    """A prompt of `tokens` against endpoints that hold `depths` blocks of it, each of about `block_tokens`.

    At least one token is always computed: engines need the logits of the last one. `trust` is what the index is worth
    at each endpoint, 0 to 1 (`ext_proc.core.truth`).
    """
    held = np.minimum(tokens - 1, (depths * block_tokens).astype(np.int64))
    counted = held if trust is None else (held * trust).astype(np.int64)
    uncached = tokens - counted
    charged = uncached.astype(np.float64)
    if match.common_blocks:
        copied = SHARED * np.maximum(0, match.common_blocks - depths)
        if is_everybodys:
            copied += (1.0 - SHARED) * np.maximum(0, match.opening_blocks - depths)
        copied *= block_tokens
        charged = np.maximum(1.0, charged - (copied if trust is None else copied * trust))
    return Prompt(tokens, uncached, charged, held)


def rank(view: View, rng: random.Random) -> Ranking:
    """Least cost first; raises ValueError without a prompt."""
    if view.prompt is None:
        raise ValueError("kv-aware needs the prompt")
    slots, ledger, prompt = view.slots, view.fleet.ledger, view.prompt
    speed, backlog = ledger.speed, ledger.backlog
    load: FloatArray | IntArray = ledger.in_flight[slots]
    factor = speed.factor[slots]
    wait = backlog.wait_ms(slots, view.now) if speed.is_learned else backlog.owed_ms(slots)
    if view.fleet.gauges.has_foreign:
        waiting, running = view.fleet.gauges.foreign(slots, view.now)
        worth = ledger.claims.believed(slots, ledger.others_ms(waiting, running, factor))
        waiting, running = worth * waiting, worth * running
        wait = wait + waiting * factor * (view.mean_uncached * speed.token_ms)
        load = load + waiting + running
    prefill = factor * _alone_ms(prompt.tokens, prompt.uncached, speed)
    burden = factor * _alone_ms(prompt.tokens, prompt.charged, speed)
    delay = factor * (speed.request_ms * load + speed.held_ms * ledger.held_tokens[slots])
    step, crowd = factor * speed.base_ms + delay, (CROWD - 1.0) * delay
    arrivals = 1.0 / (len(slots) * max(LEAST_GAP_MS, 1e3 * view.gap_s))
    later = (LATER * arrivals) * burden * (wait + burden / 2)
    recent = ledger.prefills.recent_ms(slots, view.now) + LEAST_PREFILL_MS
    stall = STALL * load * (recent / (recent.sum() / len(slots))) * burden
    cost = wait + burden + step + crowd + stall + later
    charges = beside(view)
    for charge in charges.values():
        cost = cost + charge
    order = best_first(_key(cost, load, ledger.picked_at[slots], rng))
    best = int(order[0])
    terms = {
        "cached_tokens": prompt.tokens - prompt.uncached,
        "uncached_tokens": prompt.uncached,
        "in_flight": load,
        "speed_factor": factor,
        "wait_ms": wait,
        "prefill_ms": prefill,
        "step_ms": step,
        "crowd_ms": crowd,
        "stall_ms": stall,
        "later_ms": later,
        "shared_ms": burden - prefill,
        **charges,
    }
    return Ranking(order, cost, _reason(prompt, float(wait[best]), view.address(best), best), terms)


def _alone_ms(tokens: int, last: FloatArray | IntArray, speed: Speed) -> FloatArray:
    """What the last so many of a prompt's tokens take on an endpoint of factor 1."""
    taken: FloatArray = last * (speed.token_ms + speed.pair_ms * (tokens - last / 2))
    return taken


def _key(cost: FloatArray, load: FloatArray | IntArray, picked_at: FloatArray, rng: random.Random) -> FloatArray:
    """What to sort by: near ties by load, age of the last pick and chance; then others by cost; then the overloaded."""
    over: BoolArray = load > LOAD_FACTOR * (load.sum() / len(load)) + LOAD_ROOM
    if over.any():
        cost = np.where(over, cost + _LAST, cost)
    near = cost <= cost.min() + NEAR_MS
    chance = jitter(len(cost), rng)
    # Costs are positive, so what is near sorts before everything else.
    key: FloatArray = np.where(near, load + chance - _LAST, cost)
    idlest = near & (load < load[near].min() + 1)
    if idlest.sum() > 1:
        # Only the first place is settled by age: the others are named for retries, where chance is as good.
        key[np.argmin(np.where(idlest, picked_at + _INSTANT * chance, np.inf))] = -2 * _LAST
    return key


def _reason(prompt: Prompt, wait_ms: float, address: str, position: int) -> str:
    cached = prompt.tokens - int(prompt.uncached[position])
    return f"cache: {cached:,} of {prompt.tokens:,} tokens on {address}, wait {wait_ms:,.0f} ms"
