"""What becomes of requests, read as evidence of how an endpoint is (`ext_proc.core.health` draws the conclusions)."""

from enum import Enum
from typing import Final

from ext_proc.core.events import AttemptEnded, RequestEnded, Tried

# Envoy's response flags (access log documentation): UF connection failure, UC connection termination, UR remote reset.
_UNREACHABLE = "UF"
# How Envoy words ECONNREFUSED, by name or by number; a connect timeout is a failure too, but may be the network's.
_REFUSED = ("refused", "error: 111", "error:_111")
_RESET = frozenset({"UC", "UR"})
# UT request timed out upstream, UPE upstream protocol error, SI stream idle timeout.
_TIMED_OUT = "UT"
_BROKEN = "UPE"
_SILENT = "SI"

_FULL = frozenset({429, 503})
# The engine lacks what the request asks for; another request may be fine.
_REQUESTS_OWN_FAULT = frozenset({501, 505})

OUT: Final = frozenset({"ejected", "half-open"})
"""States (`Health.state`) of an endpoint that was ejected and has not been admitted again."""


class Evidence(Enum):
    """What one outcome says about an endpoint."""

    NONE = "none"
    ALIVE = "alive"
    GOOD = "good"
    SOFT = "soft"
    TIMEOUT = "timeout"  # soft, and it said nothing at all
    HARD = "hard"
    GONE = "gone"  # hard, and nobody even listens there: the process ended, and its cache with it


FAILURES: Final = frozenset({Evidence.SOFT, Evidence.TIMEOUT, Evidence.HARD, Evidence.GONE})

SOFT_FAILURES: Final = frozenset({Evidence.SOFT, Evidence.TIMEOUT})
"""Those of which one alone may be the request's doing."""


def evidence_of_attempt(event: AttemptEnded) -> Evidence:
    """Reads one attempt. A good-looking one says nothing yet: after headers, silence also ends as 200 without flags."""
    flags = event.flags
    if _UNREACHABLE in flags:
        return Evidence.GONE if any(word in event.failure for word in _REFUSED) else Evidence.HARD
    if not _RESET.isdisjoint(flags):
        return Evidence.HARD if event.status in (0, 503) else Evidence.SOFT
    if _TIMED_OUT in flags:
        return Evidence.TIMEOUT
    if _BROKEN in flags:
        return Evidence.SOFT
    if flags:
        return Evidence.NONE  # the client's or Envoy's own doing
    if event.status in _FULL:
        return Evidence.ALIVE
    return Evidence.SOFT if _is_its_fault(event.status) else Evidence.NONE


def words_of_attempt(event: AttemptEnded) -> str:
    """Why an attempt did not answer, with Envoy's flags; empty where it did, as far as its record tells."""
    flags = f" ({', '.join(event.flags)})" if event.flags else ""
    match evidence_of_attempt(event):
        case Evidence.GONE:
            return f"connection refused{flags}"
        case Evidence.HARD if _UNREACHABLE in event.flags:
            return f"no connection{flags}"
        case Evidence.HARD | Evidence.SOFT if not _RESET.isdisjoint(event.flags):
            return f"reset{flags}"
        case Evidence.TIMEOUT:
            return f"no first byte in time{flags}"
        case _:
            return f"HTTP {event.status}{flags}" if event.status >= 400 else flags.strip(" ()")


def evidence_of_request(event: RequestEnded) -> Evidence:
    """Reads one request for the endpoint that served it. Failed attempts are counted by their own records."""
    if _SILENT in event.flags:
        return Evidence.SOFT
    if event.aborted or event.flags or not event.served:
        return Evidence.NONE
    if 200 <= event.status < 500 and event.status not in _FULL:
        return Evidence.GOOD
    return Evidence.NONE


def evidence_of_try(event: Tried) -> Evidence | None:
    """Reads a request of our own. None: it cannot be answered there, so that nothing follows from it.

    503 is no sign of life here: servers say that while they load a model.
    """
    if event.is_refused:
        return Evidence.GONE
    if event.is_late:
        return Evidence.TIMEOUT
    if event.status == 0:
        return Evidence.HARD
    if event.status == 503:
        return Evidence.NONE
    if event.status == 429:
        return Evidence.ALIVE
    if event.status == 200:
        return Evidence.GOOD
    return Evidence.SOFT if _is_its_fault(event.status) else None


def _is_its_fault(status: int) -> bool:
    return status >= 500 and status not in _REQUESTS_OWN_FAULT
