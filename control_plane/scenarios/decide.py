"""The decision about one request, as Envoy will take it: route, pools, answer; in the names of the policy."""

from dataclasses import dataclass
from typing import Any

from control_plane.compile.evaluate import Evaluation, Request, evaluate
from control_plane.compile.filters import PICKER_FILTER
from control_plane.compile.names import KVPILOT_NAMESPACE, MODEL_KEY, cluster_name
from control_plane.compile.snapshot import Compiled
from control_plane.compile.typed import Json
from control_plane.policy.loader import Document
from control_plane.policy.model import Listener, Policy
from ext_proc.core.alias import asked_of
from ext_proc.core.settings import PickerSettings

SECTION_OF_PREFIX = {"rule": "rules", "model": "models"}
"""What a route's name begins with → where in the policy it is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One request's way. `pools` are those that the route leads to, with their weights; none for an answer by Envoy.

    `declared` is the path of the policy that the route comes from; `model` is what the body asks for, `engine_model`
    what the engine is asked for once the picker has answered.
    """

    listener: str
    evaluation: Evaluation
    pools: tuple[tuple[str, int], ...]
    status: int | None
    is_picked: bool
    declared: str
    model: str
    engine_model: str

    @property
    def route(self) -> str:
        """The route's name in Envoy, empty where none matched."""
        return self.evaluation.route_name

    @property
    def rule(self) -> str:
        """The rule of the policy that decided, empty where it was none."""
        return _name_after("rule", self.route)

    @property
    def action(self) -> Json:
        """What the route says about timeouts and so on."""
        found: Any = (self.evaluation.route or {}).get("route", {})
        return dict(found)


def decide(
    document: Document, compiled: Compiled, settings: PickerSettings, request: Request, listener: Listener
) -> Decided:
    """What becomes of `request` at `listener`; raises `UnknownMatcherError`, and KeyError for one not compiled."""
    evaluation = evaluate(compiled.listeners[listener.name], compiled.routes[listener.name], request)
    found = evaluation.metadata.get(KVPILOT_NAMESPACE, {}).get(MODEL_KEY, "")
    model = found if isinstance(found, str) else ""
    clusters = {cluster_name(pool.name): pool.name for pool in document.policy.pools}
    pools = tuple((clusters.get(name, name), weight) for name, weight in evaluation.clusters)
    return Decided(
        listener=listener.name,
        evaluation=evaluation,
        pools=pools,
        status=evaluation.status,
        is_picked=bool(pools) and bool(model) and PICKER_FILTER in evaluation.filters,
        declared=declared_path(evaluation.route_name, listener.name),
        model=model,
        engine_model=engine_model(settings, evaluation.route_name, model),
    )


def engine_model(settings: PickerSettings, route: str, model: str) -> str:
    """The name that the picker writes into the request; the client's own where it would not pick."""
    found = asked_of(settings, route, model) if model else None
    return found.engine_model if found else model


def declared_path(route: str, listener: str) -> str:
    """Where the policy says what became a route of this name: `model/llama` → `models.llama`."""
    for prefix, section in SECTION_OF_PREFIX.items():
        name = _name_after(prefix, route)
        if name:
            return f"{section}.{name}"
    return f"listeners.{listener}"


def listener_of(policy: Policy, name: str) -> Listener | None:
    """The listener of that name; the first for no name, None for an unknown one."""
    if not name:
        return policy.listeners[0]
    return next((listener for listener in policy.listeners if listener.name == name), None)


def _name_after(prefix: str, route: str) -> str:
    return route.removeprefix(f"{prefix}/") if route.startswith(f"{prefix}/") else ""
