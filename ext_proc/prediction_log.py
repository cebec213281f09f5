"""What was found out about predictions, told to people: a line of the log for each new verdict, and a count.

A record of the log has its parts as attributes too (`event`, `pool`, `endpoint`, `verdict`, `trust`), for whoever
collects logs as JSON.
"""

import logging
from collections import Counter

from ext_proc.core.truth import Change, Verdict

log = logging.getLogger("kvpilot")

EVENT = "prediction"


def tell(change: Change, counts: Counter[tuple[str, str]]) -> None:
    """Logs a change, as a warning where predictions are wrong, and counts it by pool and verdict if it is a pool's."""
    if not change.endpoint:
        counts[change.pool, change.verdict.value] += 1
    whose = f"pool {change.pool}" + (f", endpoint {change.endpoint}" if change.endpoint else "")
    what = change.why
    if change.verdict is Verdict.OVER:
        what += f"; cached tokens count {change.trust:.0%} in picks there"
    elif change.was is Verdict.OVER:
        what += "; cached tokens count in full again"
    if change.verdict is Verdict.FINE and change.was is Verdict.UNKNOWN:
        level = logging.DEBUG  # nobody waits to hear that all is as it should be
    else:
        level = logging.WARNING if change.verdict is Verdict.OVER else logging.INFO
    parts = {
        "event": EVENT,
        "pool": change.pool,
        "endpoint": change.endpoint,
        "verdict": change.verdict.value,
        "trust": change.trust,
    }
    log.log(level, "predictions of %s: %s: %s", whose, change.verdict.value, what, extra=parts)
