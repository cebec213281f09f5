"""What a ranking says will come of its choice: to be held against what came of it."""

from ext_proc.core.record import Predicted
from ext_proc.core.strategies.view import Ranking, View

# The terms of `kv-aware` that make up the time to a first token; the others are about other requests.
FIRST_TOKEN_TERMS = ("wait_ms", "prefill_ms", "step_ms")


def predicted(view: View, ranking: Ranking) -> Predicted:
    """The prediction for the best; nothing where the strategy does not predict.

    Milliseconds are told once they are learned from first tokens: before, they are only right in proportion.
    """
    best, terms = int(ranking.order[0]), ranking.terms
    cached = None if view.prompt is None else view.prompt.tokens - int(view.prompt.uncached[best])
    held = None if view.prompt is None or view.prompt.held is None else int(view.prompt.held[best])
    if not view.fleet.ledger.speed.is_learned or any(name not in terms for name in FIRST_TOKEN_TERMS):
        return Predicted(cached, held_tokens=held)
    wait, prefill, step = (float(terms[name][best]) for name in FIRST_TOKEN_TERMS)
    return Predicted(cached, wait, wait + prefill + step, held)
