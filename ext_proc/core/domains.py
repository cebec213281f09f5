"""What fails together: the endpoints of one machine, and those of one zone. Pure.

The names of a request are for retries, and two that go down together are one. So the further names are of machines that
are not named yet, as far as the best candidates have any; and the second one is of another zone where the others share
the first one's, as far as they say theirs. Levels (`ext_proc.core.levels`) stand above this: it is for endpoints
between which a strategy decides.

A machine is an IP address, for engines with several ports on one; a zone is what endpoints say of region and zone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ext_proc.core.settings import EndpointSettings
from ext_proc.core.slots import Slots

_Zone = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Domains:
    """By slot; empty where they tell nobody apart: `machines` where no two share one, `zones` where all share one."""

    machines: Mapping[int, str]
    zones: Mapping[int, _Zone]

    def apart(self, slots: Sequence[int], count: int) -> list[int]:
        """Up to `count` of some slots, which stand best first: the first, then the best of those that are apart."""
        order = self._by_machines(slots) if self.machines else list(slots)
        named = order[:count]
        common = self._common_zone(named[:-1]) if self.zones else None
        if common is not None:
            other = next((slot for slot in order[count - 1 :] if self.zones.get(slot, common) != common), None)
            if other is not None:
                named[1:] = [other, *named[1:-1]]
        return named

    def _by_machines(self, slots: Sequence[int]) -> list[int]:
        """The best of each machine, then the others."""
        seen: set[str] = set()
        best: list[int] = []
        others: list[int] = []
        for slot in slots:
            machine = self.machines[slot]
            (others if machine in seen else best).append(slot)
            seen.add(machine)
        return best + others

    def _common_zone(self, slots: Sequence[int]) -> _Zone | None:
        """The zone of the first, if nobody says that he is in another one."""
        first = self.zones.get(slots[0]) if slots else None
        return first if all(self.zones.get(slot, first) == first for slot in slots) else None


def domains(endpoints: Sequence[EndpointSettings], slots: Slots) -> Domains:
    """Those of endpoints, which get slots."""
    numbers = [slots.acquire(each.address) for each in endpoints]
    machines = {number: each.address.rpartition(":")[0] for number, each in zip(numbers, endpoints, strict=True)}
    zones = {
        number: (each.region, each.zone)
        for number, each in zip(numbers, endpoints, strict=True)
        if each.region or each.zone
    }
    return Domains(
        machines=machines if 1 < len(set(machines.values())) < len(machines) else {},
        zones=zones if len(set(zones.values())) > 1 else {},
    )
