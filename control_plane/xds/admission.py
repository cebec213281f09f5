"""Who may open a stream, and when: a bounded rate of newcomers and a bounded number per host. Pure.

    admission = Admission()
    wait_s = admission.wait_s(now)      # 0.0: go on; None: come back later

Source of the need: after a restart of the control plane every Envoy comes at once, and answering all of them at the
same moment answers the first as late as the last (Istio's `PILOT_MAX_REQUESTS_PER_SECOND` is there for the same).
"""

NEWCOMERS_PER_S = 200.0
"""Streams let in per second. Istio began with 25, where each newcomer has its configuration generated; here it is
compiled and serialised once for all of a kind, so that a newcomer costs about 2 ms of CPU and this rate not quite half
a core. A thousand Envoys are in after 4.5 s."""

BURST = 100
"""Let in at once: a normal fleet never waits."""

MAX_WAIT_S = 30.0
"""The longest wait for one's turn; whoever would wait longer is told to come back, which Envoy does by itself after a
random time. With the rate above that is a queue of 6,000, more streams than are let in at all."""

MAX_PER_HOST = 2_048
"""Streams of one host at a time: half of all that are served, so that no single host can shut the others out; still
more than the Envoys that stand behind one address translation."""


class Admission:
    """Lets newcomers in at `per_s`, `burst` of them at once, each in the order of asking.

    Mutable: `_taken_until`, the moment up to which turns are given out; written by `wait_s`.
    """

    def __init__(self, per_s: float = NEWCOMERS_PER_S, burst: int = BURST, max_wait_s: float = MAX_WAIT_S) -> None:
        self._interval_s = 1.0 / per_s
        self._credit_s = burst / per_s
        self._max_wait_s = max_wait_s
        self._taken_until = float("-inf")

    def wait_s(self, now: float) -> float | None:
        """Takes a turn: seconds until it, 0 for now; None, and no turn, if that is longer than anybody should wait."""
        turn = max(self._taken_until, now - self._credit_s) + self._interval_s
        wait = max(0.0, turn - now)
        if wait > self._max_wait_s:
            return None
        self._taken_until = turn
        return wait


class Hosts:
    """How many streams each host has. Mutable: the counts; written by `enter` and `leave`."""

    def __init__(self, most: int = MAX_PER_HOST) -> None:
        self._most = most
        self._streams: dict[str, int] = {}

    def enter(self, host: str) -> bool:
        """Counts one more stream of the host; False, and nothing counted, if it has as many as it may."""
        if self._streams.get(host, 0) >= self._most:
            return False
        self._streams[host] = self._streams.get(host, 0) + 1
        return True

    def leave(self, host: str) -> None:
        """Counts one stream of the host less; one for every `enter` that was granted."""
        self._streams[host] -= 1
        if not self._streams[host]:
            del self._streams[host]
