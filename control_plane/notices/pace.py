"""When a webhook is tried again. Pure."""

from typing import Final

FIRST_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 60.0
"""Doubling from the first to the last, which a receiver that is down can bear for ever."""

MAX_TOLD_WAIT_S: Final = 600.0
"""The longest `Retry-After` that is obeyed: one of a year would silence a webhook."""

_RETRIED: Final = frozenset({408, 425, 429})
"""Answers of the 4xx class that are about the moment and not about what was sent."""


def wait_s(failures: int, share: float, told_s: float | None = None) -> float:
    """Seconds until the next try after so many failures in a row; `share` is random, from 0 to 1.

    At least half of the back-off, so that nobody is hammered, and the rest by chance, so that many kvpilots do not come
    together. What the receiver has `told` is waited for in any case.
    """
    backed_off = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    return max(backed_off * (0.5 + 0.5 * share), min(told_s or 0.0, MAX_TOLD_WAIT_S))


def is_final(status: int) -> bool:
    """Whether an answer that is no success will be the same next time; redirections are not followed, since they would
    take secrets elsewhere."""
    return 300 <= status < 500 and status not in _RETRIED


def told_wait_s(header: str) -> float | None:
    """The seconds of a `Retry-After`; None for its other form, a date, which no receiver of webhooks sends."""
    return float(header) if header.isascii() and header.isdigit() and len(header) < 10 else None
