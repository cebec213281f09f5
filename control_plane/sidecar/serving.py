"""In which order a change reaches who it is for: the picker lets go, Envoys are told, the picker is given."""

from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.sidecar.handover import combined
from control_plane.sidecar.parts import Parts
from control_plane.sidecar.picker_lane import settings_of, with_fleet
from ext_proc.core.settings import PickerSettings


class Serving:
    """Writes the picker's lane; keeps nothing itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def settings(self, document: Document, fleet: Fleet) -> PickerSettings:
        """The picker's for one policy and fleet; may run in a thread."""
        return settings_of(document, fleet, self._parts.region, self._parts.zone)

    def serve(self, document: Document, fleet: Fleet, settings: PickerSettings | None = None) -> None:
        """Everything is to be as it is now: `document` is the newest policy, with this fleet.

        `settings` are the picker's, if they are known already.
        """
        if self._parts.picker is None:
            self._parts.publish()
        else:
            self._hand_over(settings or self._wanted(document, fleet))

    def serve_endpoints(self, document: Document, fleet: Fleet, pools: frozenset[str]) -> None:
        """Other endpoints of these pools are ready."""
        parts = self._parts
        if parts.picker is None:
            parts.publish()
        elif self._is_staged():
            self._hand_over(self._wanted(document, fleet))
        else:
            before = parts.picker.wanted
            settings = with_fleet(before, document, fleet, pools, parts.region, parts.zone)
            if settings == before:  # it is Envoys that are told something: what the picker itself found out
                parts.publish()
                parts.picker.published()
            else:
                self._hand_over(settings)

    def _hand_over(self, settings: PickerSettings) -> None:
        assert self._parts.picker is not None, "asked by the callers"
        self._parts.picker.want(settings)
        self._parts.publish()
        self._parts.picker.published()

    def _is_staged(self) -> bool:
        return self._parts.slow_loop is not None and self._parts.slow_loop.rollout.candidate is not None

    def _wanted(self, document: Document, fleet: Fleet) -> PickerSettings:
        """While a candidate is with the first groups alone the picker needs what either policy has."""
        newest, loop = self.settings(document, fleet), self._parts.slow_loop
        if loop is None or not self._is_staged():
            return newest
        inputs = loop.inputs(loop.rollout.stable)
        return combined(self.settings(inputs.document, inputs.fleet), newest) if inputs else newest
