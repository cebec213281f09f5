"""What a source of endpoints is: the one thing to write for Kubernetes, Consul or any other registry.

A new source needs
1. a block of the policy that names it (`control_plane/policy/discovery.py`): an item of `endpoints` with a key of its
   own;
2. a class with `follow` (below), made in `control_plane/fleet/sources.py` from that block;
3. the suite that every source passes: `tests/unit/control_plane/fleet/check_source.py`.

A source only tells what it sees. That the last good endpoints stay when it fails, that they age in the status, that
changes are gathered before anybody is told, and that two pools with the same source ask once: that is done for all of
them by `FleetSources`.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from control_plane.fleet.targets import Target

Sleep = Callable[[float], Awaitable[object]]
"""Waits for some seconds, such as `asyncio.sleep`: how sources wait, so that tests need not."""


class Report(Protocol):
    """Where a source tells what it found; to be called on the event loop."""

    def found(self, targets: tuple[Target, ...], note: str = "") -> None:
        """All that there is now, sorted by address so that a mere change of order is no change.

        Telling the same again is cheap and says that it is still true. `note` is for the operator: what of the answer
        is not as it should be.
        """

    def failed(self, error: str) -> None:
        """Nothing could be found out, or what was found is not believed (an empty answer); in words for the operator.

        What was found before stays in use.
        """


class Source(Protocol):
    """Endpoints from somewhere else.

    `follow` runs until it is cancelled: it reports at once what there is, then every change, and every failure. It
    bounds its own waits, backs off after failures, spreads its questions by a random part, and leaves nothing open when
    it is cancelled. It never reports an empty result that could be a failure in disguise. An exception that escapes is
    reported as a failure, and `follow` is called again after a while.
    """

    async def follow(self, report: Report) -> None:
        """Reports until cancelled."""
