"""To which pools Envoys have the routes by which the picker leads requests there. Pure.

    routes = KnownRoutes(settings)
    routes.want(newer, now)                       # before they are published
    routes.advance(are_taken, now)                # asked again and again, until nothing waits

The picker's settings hold before Envoys have the routes that belong to them. A request that is led to a pool without
its route comes to its own pool, with the name of another model (`docs/degradation.md`).
"""

from collections.abc import Callable

from control_plane.sidecar.handover import SYNC_TIMEOUT_S
from ext_proc.core.settings import PickerSettings


class KnownRoutes:
    """Mutable: the clusters that may be led to, and since when others wait."""

    def __init__(self, settings: PickerSettings) -> None:
        """`settings` hold from the beginning: there was nothing before them."""
        self._known = _led_to(settings)
        self._waiting: dict[str, float] = {}

    @property
    def known(self) -> frozenset[str]:
        """Clusters to which requests may be led."""
        return self._known

    @property
    def is_waiting(self) -> bool:
        """Whether an Envoy may be without some route."""
        return bool(self._waiting)

    def want(self, settings: PickerSettings, now: float) -> None:
        """Other settings are to be; what is new in them waits, for `SYNC_TIMEOUT_S` at most.

        After that it is as with endpoints: an Envoy that is gone or refuses must not hold back the others, of whose
        requests nobody else would be answered.
        """
        wanted = _led_to(settings)
        self._known &= wanted
        self._waiting = {cluster: self._waiting.get(cluster, now) for cluster in wanted - self._known}

    def advance(self, are_taken: Callable[[], bool], now: float) -> bool:
        """Whether more is known than before. `are_taken` says whether every connected Envoy has all that was published
        last."""
        if not self._waiting:
            return False
        is_all = are_taken()
        found = {cluster for cluster, since in self._waiting.items() if is_all or now - since >= SYNC_TIMEOUT_S}
        self._known |= found
        for cluster in found:
            del self._waiting[cluster]
        return bool(found)


def _led_to(settings: PickerSettings) -> frozenset[str]:
    return frozenset(way.cluster for each in settings.degradations.values() for way in each.every_way)
