"""What is kept of endpoints that have left, for a moment: discovery may lose one and find it again.

Only how fast they are. Caches may be empty by then and numbers are old, while the machine is the same.
"""

from collections import OrderedDict

from ext_proc.core.speed import Pace

# A pod that is not ready until its probe succeeds again, or a name that did not resolve, is back by then. An address
# that goes to another machine sooner is slow or fast for as long as the factor takes to forget, some fifty requests.
MAX_AWAY_S = 60.0

# As many as a picker's endpoints may be: all of them can be away at once.
MAX_AWAY = 4_096


class Away:
    """Mutable: the table, the latest last; `left` and `back` are the writers, the fleet their only caller."""

    def __init__(self) -> None:
        self._paces: OrderedDict[str, tuple[float, Pace]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    def left(self, address: str, pace: Pace, now: float) -> None:
        """An endpoint is forgotten now, but for this."""
        self._paces[address] = now, pace
        self._paces.move_to_end(address)
        while len(self._paces) > MAX_AWAY or now - next(iter(self._paces.values()))[0] > MAX_AWAY_S:
            self._paces.popitem(last=False)

    def back(self, address: str, now: float) -> Pace | None:
        """What was kept of an endpoint that is there again, if it was not away for long."""
        left_at, pace = self._paces.pop(address, (now, None))
        return pace if now - left_at <= MAX_AWAY_S else None
