"""What the picker knows about endpoints and pools, for whoever looks: lanes, notices, status, metrics. Pure.

    survey = picker.survey
    survey.is_anyone_out, survey.health(now), survey.areas("chat", now)

Nothing here changes what is picked.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ext_proc.core.areas import Area, areas
from ext_proc.core.endpoint_status import load_of, status_of
from ext_proc.core.fleet import Fleet
from ext_proc.core.history import History
from ext_proc.core.learned import Learned
from ext_proc.core.pool import Pool
from ext_proc.core.reception import Reception
from ext_proc.core.settings import EndpointSettings
from ext_proc.core.soundness import NOT_NAMED
from ext_proc.core.verdicts import StateChange


class Survey:
    """Reads the picker's parts. Mutable: the pools, which are replaced as a whole.

    `now` is the picker's clock in seconds.
    """

    def __init__(self, fleet: Fleet, learned: Learned, reception: Reception) -> None:
        self._fleet = fleet
        self._learned = learned
        self._reception = reception
        self._pools: Mapping[str, Pool] = {}
        self._history: Mapping[str, History] = {}

    def apply_settings(self, pools: Mapping[str, Pool], history: Mapping[str, History]) -> None:
        """The pools that there are now, in the order of the settings, by name."""
        self._pools, self._history = pools, history

    def load(self, address: str, now: float) -> tuple[int, float, float | None] | None:
        """`ext_proc.core.endpoint_status.load_of` an endpoint."""
        return load_of(self._fleet, address, now)

    def in_flight(self, addresses: Iterable[str]) -> list[int]:
        """Own requests in flight at each of the endpoints; 0 where nothing is known."""
        slots = map(self._fleet.slots.get, addresses)
        return [0 if slot is None else int(self._fleet.ledger.in_flight[slot]) for slot in slots]

    def is_sound(self, address: str, now: float) -> bool:
        """Whether nothing is held against an endpoint."""
        slot = self._fleet.slots.get(address)
        return slot is not None and self._fleet.soundness.word(slot, now) in ("healthy", "degraded")

    def why(self, address: str) -> str:
        """What is bad of an endpoint; empty for one of which nothing is known."""
        slot = self._fleet.slots.get(address)
        return "" if slot is None else self._fleet.soundness.why(slot)

    @property
    def is_anyone_out(self) -> bool:
        """Whether anything is held against anybody; while not, there is no need to ask for `health`."""
        return self._fleet.health.is_anyone_out

    def health(self, now: float) -> list[tuple[str, list[tuple[str, str]]]]:
        """(pool, [(address, its health in a word)]) of all that could be named (`Soundness.word`)."""
        word = self._fleet.soundness.word
        return [
            (name, [(each.address, word(slot, now)) for each, slot in self._slots(pool) if each.available])
            for name, pool in self._pools.items()
        ]

    def out(self, now: float) -> list[tuple[str, list[str], int]]:
        """(pool, its endpoints that failed and are left alone, how many it could name) for each pool."""
        return [
            (pool, [address for address, word in words if word in NOT_NAMED], len(words))
            for pool, words in self.health(now)
        ]

    def take_health_changes(self) -> list[tuple[str, StateChange]]:
        """(address, change) of endpoints that are otherwise than at the last question, oldest first."""
        return self._fleet.soundness.take_changes()

    def areas(self, name: str, now: float) -> list[Area]:
        """How the regions and zones of a pool are; none of one that is not known."""
        pool = self._pools.get(name)
        return [] if pool is None else areas(pool, self._fleet, now)

    def degraded(self) -> list[dict[str, Any]]:
        """JSON values: the models whose requests are answered otherwise than they were asked (`Detours.open`)."""
        return self._reception.degraded()

    def doubted(self) -> list[tuple[str, str, float, str]]:
        """(pool, verdict, trust, why) of pools whose beliefs about caches are found wrong and count for less."""
        return [found for name in self._pools if (found := self._learned.doubt(name)) is not None]

    def switched_off(self) -> list[tuple[str, str]]:
        """(pool, why) of pools whose own strategy is too slow to be asked any more."""
        return [(name, pool.why_off) for name, pool in self._pools.items() if pool.why_off]

    def pools(self, now: float) -> dict[str, dict[str, Any]]:
        """JSON values by pool name, with one entry for each endpoint."""
        return {name: self._pool(name, pool, now) for name, pool in self._pools.items()}

    def index(self) -> dict[str, int]:
        """JSON values: how large the prefix index is."""
        return self._fleet.index.as_dict()

    def token_sizes(self) -> dict[str, Any]:
        """JSON values by model: what was learned of how long prompts are in tokens."""
        return self._learned.sizes.as_dict()

    def speed(self) -> dict[str, float | int]:
        """JSON values: what was learned of how long first tokens take, by all endpoints together."""
        return self._fleet.ledger.speed.as_dict()

    def _pool(self, name: str, pool: Pool, now: float) -> dict[str, Any]:
        return {
            "strategy": pool.settings.strategy,
            **self._reception.status(pool.settings.cluster, now),
            **({} if pool.shadow is None else {"shadow": pool.shadow.status()}),
            **({"strategy_off": why} if (why := pool.why_off) else {}),
            "prediction": self._learned.status(name),
            "usual": self._history[name].as_dict(),
            "telling": sum(self._fleet.index.is_precise(slot) for _, slot in self._slots(pool)),
            "endpoints": [self._endpoint(each, now) for each in pool.settings.endpoints],
        }

    def _endpoint(self, endpoint: EndpointSettings, now: float) -> dict[str, Any]:
        status = {**status_of(self._fleet, endpoint.address, now), "zone": endpoint.place}
        return status if endpoint.available else {**status, "health": endpoint.state or "unavailable"}

    def _slots(self, pool: Pool) -> Iterator[tuple[EndpointSettings, int]]:
        """The endpoints of a pool, all of which have slots."""
        for endpoint in pool.settings.endpoints:
            slot = self._fleet.slots.get(endpoint.address)
            if slot is not None:
                yield endpoint, slot
