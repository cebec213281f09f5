"""Streams that were answered by headers and by nothing else: each is a timeout of its endpoint.

Envoy's limit on first bytes ends a try that has no headers, and its record tells so. Engines send the headers of a
stream at once, whatever becomes of it; then Envoy waits for `timeouts.idle`, which is minutes. The request cannot be
tried elsewhere any more, for its answer has begun; but the endpoint can be judged by the limit that its request had.
"""

import math
from dataclasses import dataclass
from typing import Final

from ext_proc.core.signs import ASLEEP_S

GRACE_S: Final = 2.0
"""Beyond the limit: then Envoy's own record of a try without headers has come, and whoever looks once a second has."""


@dataclass(slots=True)
class _Awaited:
    """One stream. Mutable: `Overdue` writes."""

    address: str
    began_at: float
    limit_s: float
    due_at: float


class Overdue:
    """Mutable: the streams without a first byte; the picker's fleet is the only writer."""

    def __init__(self) -> None:
        self._awaited: dict[str, _Awaited] = {}
        self._looked_at = -math.inf

    def expect(self, decision_id: str, address: str, now: float, limit_s: float) -> None:
        """A stream was sent there, and its first byte is due within that."""
        self._awaited[decision_id] = _Awaited(address, now, limit_s, now + limit_s + GRACE_S)

    def moved(self, decision_id: str, address: str, at: float) -> None:
        """It is being tried there now."""
        awaited = self._awaited.get(decision_id)
        if awaited is not None:
            awaited.address, awaited.due_at = address, at + awaited.limit_s + GRACE_S

    def over(self, decision_id: str) -> None:
        """Its first byte has come, or will not come any more."""
        self._awaited.pop(decision_id, None)

    def take(self, now: float) -> list[tuple[str, float]]:
        """(address, when the request began) of those that are overdue, each once; to be asked about once a second.

        After a time in which this process did not run nobody is: what came meanwhile has not been heard yet.
        """
        slept_s = now - self._looked_at
        self._looked_at = now
        if slept_s > ASLEEP_S:
            for awaited in self._awaited.values():
                awaited.due_at = max(awaited.due_at, now + GRACE_S)
        late = [decision_id for decision_id, awaited in self._awaited.items() if awaited.due_at <= now]
        return [(awaited.address, awaited.began_at) for awaited in map(self._awaited.pop, late)]
