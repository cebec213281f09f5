"""What two compiled snapshots differ in, in the words of an operator, and what each difference does to traffic. Pure.

    for change in changes(old, new):
        change.action, change.kind, change.name, change.details, change.notes

A plan must say what an edit costs before it is applied. What Envoy does with a changed resource is its own rule:

- a changed cluster is built anew beside the old one and takes over when its endpoints have come: connections to its
  pods are made again, ejections and circuit breakers start from nothing ("Cluster manager", cluster warming);
- a changed listener drains: its connections get `connection: close` or GOAWAY, and are cut at the end of the drain time
  ("Draining", and LDS); its routes come by RDS and change without that;
- endpoints change in place.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from control_plane.compile.snapshot import Compiled
from control_plane.compile.typed import Json
from ext_proc.core.address import SocketAddress

Action = Literal["add", "change", "remove"]

MAX_DETAILS = 50
"""Differences that are listed of one resource; with more it is a different one."""

MAX_SHOWN = 80
"""Characters of a value that are repeated."""

SECRET_KINDS = frozenset({"secrets"})
"""Kinds whose content is never shown."""

ENVOY_DRAIN_S = 600
"""Envoy's own drain time (`--drain-time-s`), unless it was started with another one."""

_MANAGER = "filterChains[0].filters[envoy.filters.network.http_connection_manager].typedConfig."
"""Where all of a listener's differences are; it says nothing to anybody."""

REMOVED_CLUSTER = "in two steps: it goes 5 s after the routes without it are confirmed, for requests on their way"
CHANGED_CLUSTER = "Envoy builds it anew: connections to its pods are made again, ejections start from nothing"
CHANGED_LISTENER = f"its connections drain: they close after the answer in hand, at the latest after {ENVOY_DRAIN_S} s"
MOVED_LISTENER = "it is bound to the new address, and what is connected to the old one drains"
REMOVED_LISTENER = "its connections drain, and the address is closed to new ones"
CHANGED_ROUTES = "for new requests at once; nothing drains"
REMOVED_ENDPOINTS = "what goes leaves the pick at once; requests that run there finish"
EMPTY_ASSIGNMENT = "nothing is left: every request for it is answered 503"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource that is not the same. `details` are its differences, `notes` what they do to traffic.

    `subject` is the first route that differs, where it is a table of routes.
    """

    kind: str
    name: str
    action: Action
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    subject: str = ""

    @property
    def drains(self) -> bool:
        """Whether connections of clients end by it."""
        return self.kind == "listeners" and self.action != "add"

    @property
    def is_two_step(self) -> bool:
        """Whether it waits until nothing refers to the resource any more."""
        return self.kind == "clusters" and self.action == "remove"


def changes(old: Compiled, new: Compiled) -> tuple[Change, ...]:
    """All differences, by kind in the order in which they are pushed, then by name."""
    before, after = old.by_kind(), new.by_kind()
    kinds = dict.fromkeys((*after, *before))
    return tuple(found for kind in kinds for found in _of_kind(kind, before.get(kind, {}), after.get(kind, {})))


def _of_kind(kind: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        action: Action = "add" if name not in old else "remove" if name not in new else "change"
        one, other = old.get(name, {}), new.get(name, {})
        details = tuple(dict.fromkeys(_details(kind, action, one, other)))
        subject = details[0].partition(": ")[0].lstrip("+- ") if details and kind == "routes" else ""
        if len(details) > MAX_DETAILS:
            details = (*details[:MAX_DETAILS], f"… and {len(details) - MAX_DETAILS:,} more")
        notes = _notes(kind, action, one, other)
        yield Change(kind=kind, name=name, action=action, details=details, notes=notes, subject=subject)


def _details(kind: str, action: Action, old: Json, new: Json) -> tuple[str, ...]:
    if kind in SECRET_KINDS:
        return ()
    if kind == "endpoints":
        return tuple(_endpoint_changes(old, new))
    if kind == "routes":
        return tuple(_route_changes(old, new))
    if action != "change":
        return ()
    return tuple(line.replace(_MANAGER, "") for line in differences(old, new))


def _notes(kind: str, action: Action, old: Json, new: Json) -> tuple[str, ...]:
    if kind == "clusters":
        return {"remove": (REMOVED_CLUSTER,), "change": (CHANGED_CLUSTER,)}.get(action, ())
    if kind == "listeners" and action == "change":
        return (MOVED_LISTENER,) if old.get("address") != new.get("address") else (CHANGED_LISTENER,)
    if kind == "listeners" and action == "remove":
        return (REMOVED_LISTENER,)
    if kind == "routes" and action == "change":
        return (CHANGED_ROUTES,)
    if kind == "endpoints" and action == "change":
        before, after = endpoints_of(old), endpoints_of(new)
        notes = (REMOVED_ENDPOINTS,) if before.keys() - after.keys() else ()
        return (*notes, EMPTY_ASSIGNMENT) if before and not after else notes
    return ()


# --- endpoints ---


def endpoints_of(assignment: Json) -> dict[str, dict[str, object]]:
    """Address → what a `ClusterLoadAssignment` says of it: weight, health, priority, place."""
    found: dict[str, dict[str, object]] = {}
    group: Any
    groups: Any = assignment.get("endpoints", ())
    for group in groups:
        locality = group.get("locality", {})
        place = "/".join(part for part in (locality.get("region"), locality.get("zone")) if part)
        for each in group.get("lbEndpoints", ()):
            found[_address(each["endpoint"]["address"])] = {
                "weight": each.get("loadBalancingWeight", 1),
                "health": str(each.get("healthStatus", "UNKNOWN")).lower(),
                "priority": group.get("priority", 0),
                "place": place or "nowhere in particular",
            }
    return found


def _address(address: Any) -> str:
    if "socketAddress" not in address:
        return str(address)
    found = address["socketAddress"]
    return str(SocketAddress(found["address"], found["portValue"]))


def _endpoint_changes(old: Json, new: Json) -> Iterator[str]:
    before, after = endpoints_of(old), endpoints_of(new)
    for address in sorted(after.keys() - before.keys()):
        yield f"+ {address} (weight {after[address]['weight']})"
    for address in sorted(before.keys() - after.keys()):
        yield f"- {address}"
    for address in sorted(before.keys() & after.keys()):
        for what, value in after[address].items():
            if before[address][what] != value:
                yield f"{address}: {what} {before[address][what]} → {value}"


# --- routes ---


def _route_changes(old: Json, new: Json) -> Iterator[str]:
    before, after = _hosts(old), _hosts(new)
    for name in after.keys() - before.keys():
        yield f"+ virtual host {name} for {', '.join(after[name].get('domains', ()))}"
    for name in before.keys() - after.keys():
        yield f"- virtual host {name}"
    several = len(after) > 1
    for name in (name for name in after if name in before):
        prefix = f"{name}: " if several else ""
        for line in _routes_of_host(before[name], after[name]):
            yield prefix + line


def _hosts(routes: Json) -> dict[str, Any]:
    hosts: Any = routes.get("virtualHosts", ())
    return {host["name"]: host for host in hosts}


def _routes_of_host(old: Json, new: Json) -> Iterator[str]:
    """Differences by the routes' names: several routes of one name are one rule or model, so a line may come twice."""
    before, after = _keyed(_items(old, "routes")), _keyed(_items(new, "routes"))
    for key in after:
        if key not in before:
            yield f"+ {_name(after[key])}:{_leads(after[key])}"
    for key in before:
        if key not in after:
            yield f"- {_name(before[key])}:{_leads(before[key])}"
    if _is_reordered(before, after):
        yield "the order of the routes"
    for key in (key for key in before if key in after):
        name = _name(after[key])
        if _target(before[key]) != _target(after[key]):
            yield f"{name}:{_leads(before[key])} → {_leads(after[key]).removeprefix(' to ')}"
        rest, other = _without_target(before[key]), _without_target(after[key])
        yield from (f"{name}: {line}" for line in differences(rest, other))
    yield from differences(_without(old, "routes"), _without(new, "routes"))


def _name(route: Json) -> str:
    return str(route.get("name", "a route"))


def _without(resource: Json, key: str) -> Json:
    return {field: value for field, value in resource.items() if field != key}


def _items(resource: Json, key: str) -> Sequence[Any]:
    found: Any = resource.get(key, ())
    return list(found)


def _target(route: Any) -> Any:
    action = route.get("route", {})
    if "weightedClusters" in action:
        return [(each["name"], each.get("weight", 0)) for each in action["weightedClusters"]["clusters"]]
    return action.get("cluster") or route.get("directResponse", {}).get("status")


def _leads(route: Any) -> str:
    target = _target(route)
    if isinstance(target, list):
        return " to " + ", ".join(f"{name} {weight}" for name, weight in target)
    return f" to {target}" if isinstance(target, str) else f" to an answer {target}" if target else ""


def _without_target(route: Any) -> Json:
    action = {key: value for key, value in route.get("route", {}).items() if key not in ("cluster", "weightedClusters")}
    return {**route, "route": action}


# --- anything else ---


def differences(old: object, new: object, path: str = "") -> Iterator[str]:
    """What differs between two values of JSON, a line each: `circuitBreakers.thresholds[0].maxConnections: 10 → 20`."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            below = f"{path}.{key}" if path else str(key)
            yield from _pair(old.get(key), new.get(key), below, (key in old, key in new))
    elif isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str) | isinstance(new, str):
        yield from _lists(old, new, path)
    else:
        yield f"{path}: {_shown(old)} → {_shown(new)}"


def _pair(old: object, new: object, path: str, there: tuple[bool, bool]) -> Iterator[str]:
    if all(there):
        yield from differences(old, new, path)
    elif there[1]:
        yield f"{path}: {_shown(new)} (new)"
    else:
        yield f"{path}: gone (was {_shown(old)})"


def _lists(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[str]:
    if len(old) != len(new) and not any(_has_name(item) for item in (*old, *new)):
        yield from _moved(old, new, path)
        return
    before, after = _keyed(old), _keyed(new)
    for key in dict.fromkeys((*before, *after)):
        yield from _pair(before.get(key), after.get(key), f"{path}[{key}]", (key in before, key in after))
    if _is_reordered(before, after):
        yield f"{path}: another order"


def _moved(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[str]:
    """Lists whose items have no names: what one has and the other has not; a position would say nothing."""
    for item in new:
        if item not in old:
            yield f"{path}: {_shown(item)} (new)"
    for item in old:
        if item not in new:
            yield f"{path}: gone: {_shown(item)}"
    if _is_reordered(old, new):
        yield f"{path}: another order"


def _is_reordered(old: Collection[Any], new: Collection[Any]) -> bool:
    """Whether what both have comes in two orders."""
    return [item for item in old if item in new] != [item for item in new if item in old]


def _has_name(item: object) -> bool:
    return isinstance(item, Mapping) and "name" in item


def _keyed(items: Sequence[Any]) -> dict[str, Any]:
    """Items by their name where they have one, else by position; the second of a name is `name#2`."""
    found: dict[str, Any] = {}
    for index, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else None
        key = str(name) if name else str(index)
        count = 2
        while key in found:
            key, count = f"{name}#{count}", count + 1
        found[key] = item
    return found


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        kind = str(value.get("@type", "")).rpartition(".")[2]
        text = kind or ", ".join(f"{key}: {_shown(one)}" for key, one in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(_shown(one) for one in value) or "nothing"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
