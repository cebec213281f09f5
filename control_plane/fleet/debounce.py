"""When to tell about changes that come in bursts: after a moment of quiet, and never later than a bound. Pure.

Scaling a pool by ten pods is ten changes within a second or two; each told alone would be ten pushes to every Envoy.
"""

QUIET_S = 0.05
"""Nothing new for this long ends a burst: longer than the gaps between the answers of one round of look-ups, shorter
than anybody notices."""

LONGEST_S = 0.5
"""A burst that never ends is told this often."""


class Debounce:
    """Gathers names. Mutable: the names and the two times; single writers `touch` and `take`."""

    def __init__(self, quiet_s: float = QUIET_S, longest_s: float = LONGEST_S) -> None:
        """Both in seconds."""
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._names: set[str] = set()
        self._first = 0.0
        self._last = 0.0

    def touch(self, names: frozenset[str], now: float) -> None:
        """Notes that these changed."""
        if not self._names:
            self._first = now
        self._last = now
        self._names |= names

    def due(self) -> float | None:
        """When to tell; None while there is nothing to tell."""
        return min(self._last + self._quiet_s, self._first + self._longest_s) if self._names else None

    def take(self) -> frozenset[str]:
        """What changed, and is now told."""
        names = frozenset(self._names)
        self._names.clear()
        return names
