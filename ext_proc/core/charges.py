"""What a pick is charged beside work: distance, failures, adapters and sessions, each in milliseconds.

Each charge is a vector by the name under which the decision's record has it; one that makes no difference between the
endpoints is not made at all, so that a pool to which nothing of this applies pays for a few comparisons.

- `cross_zone_ms`: what an endpoint's distance from the picker's Envoy costs, which the policy says.
- `errors_ms`: the share of failed tries there, as far as it is more than usual in the pool and no chance × what a
  failed try costs; nothing for who is ejected or half open (`ext_proc.core.health`), and who comes back begins anew.
- `adapter_ms`: the time to load the request's LoRA adapter where it is not loaded; where all places are taken by
  adapters that have requests, half of a usual answer as well, since one of them has to end first.
- `session_ms`: what is not the session's own endpoint is charged a fixed amount. Its own is the first place of highest
  random weight hashing among those that may be named (`ext_proc.core.strategies.session`): nothing is remembered, an
  endpoint that leaves or fails moves its own sessions and no others, and all pickers of the same endpoints agree. A
  session's *last* endpoint was tried as well: beside a prefix index it never made a difference, since the index knows
  where the session's prefix is (docs/strategies.md).

Cold endpoints are not charged but bounded, under every strategy (`ext_proc.core.warming`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ext_proc.core.evidence import OUT
from ext_proc.core.settings import ChargeSettings, EndpointSettings, PoolSettings
from ext_proc.core.slots import FloatArray, IntArray, Slots
from ext_proc.core.strategies.session import Parameters, key_of, places_of

if TYPE_CHECKING:
    from ext_proc.core.strategies.view import View


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """What a pool's endpoints are charged for. `far` is by slot, None where none is further than another."""

    settings: ChargeSettings
    session_key: Parameters
    far: FloatArray | None


def charges_of(settings: PoolSettings, slots: Slots) -> Charges:
    """Those of a pool whose endpoints have slots."""
    key = settings.parameters.get("session") or Parameters()
    return Charges(settings.charges, key, _far(settings.endpoints, slots))


def beside(view: "View") -> dict[str, FloatArray]:
    """The charges of one pick by their names."""
    charges = view.charges
    if charges is None:
        return {}
    settings, fleet = charges.settings, view.fleet
    found: dict[str, FloatArray | None] = {}
    if charges.far is not None:
        found["cross_zone_ms"] = charges.far[view.slots]
    if settings.failure_ms and fleet.latencies.may_have_errors(view.now):
        found["errors_ms"] = _errors(view, settings.failure_ms)
    if settings.adapter_load_ms and view.request.model in fleet.adapter_slots:
        found["adapter_ms"] = _adapter(view, settings.adapter_load_ms)
    if settings.session_ms and len(view.slots) > 1:
        found["session_ms"] = _session(view, charges)
    return {name: charge for name, charge in found.items() if charge is not None}


def _far(endpoints: Sequence[EndpointSettings], slots: Slots) -> FloatArray | None:
    available = [each for each in endpoints if each.available]
    if len({each.far_ms for each in available}) < 2:
        return None
    far = np.zeros(slots.capacity)
    for each in available:
        far[slots.acquire(each.address)] = each.far_ms
    return far


def _errors(view: "View", failure_ms: float) -> FloatArray | None:
    excess = view.fleet.latencies.excess_errors(view.slots, view.now)
    for position in np.flatnonzero(excess):
        # Who was ejected pays already; charged as well, nobody would ever try whether it is back.
        if view.fleet.health.state(int(view.slots[position]), view.now) in OUT:
            excess[position] = 0.0
    return excess * failure_ms if excess.any() else None


def _adapter(view: "View", load_ms: float) -> FloatArray | None:
    missing = view.fleet.adapter_slots.missing(view.request.model, view.slots, view.fleet.slots.capacity)
    if missing is None:
        return None
    lacks, full = missing
    half_an_answer_ms = view.fleet.latencies.usual_answer_ms / 2
    return lacks.astype(np.float64) * load_ms + full * half_an_answer_ms


def _session(view: "View", charges: Charges) -> FloatArray | None:
    key = key_of(view.request, charges.session_key)
    if not key:
        return None
    charge = np.full(len(view.slots), charges.settings.session_ms)
    charge[home(view.fleet.slots, view.slots, key, view.weights)] = 0.0
    return charge


def home(slots: Slots, among: IntArray, key: str, weights: FloatArray) -> int:
    """The position of a session's own endpoint among these slots."""
    return int(np.argmin(places_of(slots.hashes[among], key, weights)))
