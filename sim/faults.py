"""Faults that a simulated pod can be told to have, and how they are taken by requests.

Pure; chance comes as an argument. One fault at a time: a new one replaces the old one.
"""

import random
from typing import Any, Final

import msgspec

KINDS: Final = ("refuse", "hang", "die", "slow", "status", "cut", "fail_scrape", "lie", "stale", "gpu")

_COUNTABLE: Final = ("hang", "die", "status", "cut", "fail_scrape")
_WITH_SCOPE: Final = ("hang", "die", "status")


class BadFaultError(ValueError):
    """The fault is not one of those described in `Fault`."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault.

    `refuse`: nothing listens on the data port, open connections are reset. `hang`: requests are taken and never
    answered. `die`: the connection is closed before any byte of an answer. `slow`: every step takes `factor` times as
    long. `status`: the answer is `code`, with `probability`. `cut`: the connection is closed after `after_chunks`
    events of a stream (in the middle of a whole answer). `fail_scrape`: `/metrics` answers 500. `lie`: what it tells of
    its load is that it has none. `stale`: it goes on telling what it told of its load before. `gpu`: its pages about
    hardware (`sim.gpu`) tell of the error `xid`, or of none where that is 0, and of `celsius`; it serves all the same.
    """

    kind: str
    factor: float = 4.0
    code: int = 500
    probability: float = 1.0
    after_chunks: int = 1
    xid: int = 79
    celsius: float = 58.0
    count: int | None = None
    """Only the next so many requests (scrapes) have it; then it is over. None: until it is cleared."""

    scope: str = "requests"
    """`requests`: those that generate; `all`: also health, models and metrics, as if the whole process had it."""


def parse(body: bytes) -> Fault | None:
    """Read `{"kind": …}`; None for `{"kind": null}`. Raises BadFaultError."""
    try:
        raw: Any = msgspec.json.decode(body)
        if isinstance(raw, dict) and raw.get("kind", "") is None:
            return None
        fault = msgspec.convert(raw, Fault)
    except (ValueError, RecursionError) as error:  # a ValueError, too, is text that is not UTF-8
        raise BadFaultError(str(error)) from error
    return checked(fault)


def checked(fault: Fault) -> Fault:
    """Return a fault that makes sense. Raises BadFaultError."""
    if fault.kind not in KINDS:
        raise BadFaultError(f"kind must be null or one of {', '.join(KINDS)}, got {fault.kind!r}")
    if not fault.factor > 0:
        raise BadFaultError("factor must be positive")
    if not 400 <= fault.code <= 599:
        raise BadFaultError("code must be from 400 to 599")
    if not 0 < fault.probability <= 1:
        raise BadFaultError("probability must be above 0 and at most 1")
    if fault.after_chunks < 0:
        raise BadFaultError("after_chunks must not be negative")
    if not 0 <= fault.xid <= 999:
        raise BadFaultError("xid must be from 0 to 999")
    if not 0 < fault.celsius <= 200:
        raise BadFaultError("celsius must be above 0 and at most 200")
    if fault.count is not None and (fault.count < 1 or fault.kind not in _COUNTABLE):
        raise BadFaultError(f"count must be at least 1, and only {', '.join(_COUNTABLE)} take one")
    if fault.scope not in ("requests", "all") or (fault.scope == "all" and fault.kind not in _WITH_SCOPE):
        raise BadFaultError(f"scope must be requests or all, and only {', '.join(_WITH_SCOPE)} take all")
    return fault


class FaultBox:
    """The fault a pod has now."""

    # What changes: `_fault` and `_left`. Single writer: the pod, on its event loop.
    __slots__ = ("_fault", "_left")

    def __init__(self) -> None:
        """Start without a fault."""
        self._fault: Fault | None = None
        self._left: int | None = None

    @property
    def current(self) -> Fault | None:
        """The fault in force, if any."""
        return self._fault

    def set(self, fault: Fault | None) -> None:
        """Replace the fault."""
        self._fault = fault
        self._left = None if fault is None else fault.count

    def for_request(self, rng: random.Random) -> Fault | None:
        """The fault of the next request that generates; counts it."""
        return self._take(("hang", "die", "status", "cut"), rng)

    def for_scrape(self, rng: random.Random) -> Fault | None:
        """The fault of the next scrape; counts it."""
        return self._take(("fail_scrape",), rng) or self.for_other(rng)

    def for_other(self, rng: random.Random) -> Fault | None:
        """The fault of the next health check or other question about the pod; counts it."""
        fault = self._fault
        return self._take(_WITH_SCOPE, rng) if fault is not None and fault.scope == "all" else None

    def _take(self, kinds: tuple[str, ...], rng: random.Random) -> Fault | None:
        fault = self._fault
        if fault is None or fault.kind not in kinds:
            return None
        if fault.kind == "status" and fault.probability < 1 and rng.random() >= fault.probability:
            return None
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.set(None)
        return fault
