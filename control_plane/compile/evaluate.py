"""Which route a request takes, decided on the compiled resources as Envoy decides it. Pure.

    found = evaluate(compiled.listeners["openai"], compiled.routes["openai"], Request(body=b'{"model": "m"}'))
    found.route["name"]      # "model/llama-3-8b"
    found.passed             # the routes before it, each with why it did not match

What `kvpilot explain` and `kvpilot test` say comes from here, so it cannot drift from what Envoy gets: it knows the
matchers that the compiler emits (`conditions.py`) and refuses all others. Sources: Envoy's `VirtualHost` and
`json_to_metadata`; the same table of requests is put to a real Envoy in `tests/conformance/test_evaluate_on_envoy.py`.

Envoy chooses twice: by headers alone (the filters of a request are those that this route leaves on), then, once
`json_to_metadata` has read the body, again.
"""

import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from control_plane.compile.complexity import TOOLS_FILTER, has_tools
from control_plane.compile.conditions import Metadata, Request, UnknownMatcherError, mismatch
from control_plane.compile.names import KVPILOT_NAMESPACE, TOOLS_KEY
from control_plane.compile.typed import Json

__all__ = [
    "Evaluation",
    "Metadata",
    "Passed",
    "Request",
    "UnknownMatcherError",
    "body_metadata",
    "evaluate",
    "normalized",
    "virtual_host",
]

_JSON_TO_METADATA = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
_MANAGER = "envoy.filters.network.http_connection_manager"

MAX_METADATA_VALUE = 8 * 1024
"""Bytes of a value that `json_to_metadata` takes; a longer one counts as missing (its own bound)."""

_ESCAPED_SLASH = re.compile("%2[Ff]|%5[Cc]")

_PORT = re.compile(":[0-9]*$")


@dataclass(frozen=True, slots=True)
class Passed:
    """A route that did not match, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What becomes of a request. `route` is None where none matched, which Envoy answers 404.

    `filters` are the HTTP filters that the request goes through; `metadata` is what was read from its body.
    """

    virtual_host: str
    route: Json | None
    passed: tuple[Passed, ...]
    filters: tuple[str, ...]
    metadata: Metadata
    path: str

    @property
    def route_name(self) -> str:
        """The name of the route, empty where none matched."""
        return str(self.route["name"]) if self.route else ""

    @property
    def clusters(self) -> tuple[tuple[str, int], ...]:
        """The clusters that the route leads to with their weights; none for an answer of Envoy's own."""
        action: Any = (self.route or {}).get("route")
        if action is None:
            return ()
        if "cluster" in action:
            return ((action["cluster"], 1),)
        if "weightedClusters" in action:
            return tuple((each["name"], int(each["weight"])) for each in action["weightedClusters"]["clusters"])
        raise UnknownMatcherError(f"route {self.route_name}: an action of {sorted(action)}")

    @property
    def status(self) -> int | None:
        """The status that Envoy answers by itself; None where the request goes to a cluster."""
        if self.route is None:
            return 404
        direct: Any = self.route.get("directResponse")
        return None if direct is None else int(direct["status"])


def evaluate(listener: Json, routes: Json, request: Request) -> Evaluation:
    """The route of `request` under a listener and its `RouteConfiguration`; raises UnknownMatcherError."""
    manager = _manager(listener)
    seen = replace(request, path=normalized(request.path, manager))
    host = virtual_host(routes, seen.authority)
    if host is None:
        return Evaluation(virtual_host="", route=None, passed=(), filters=(), metadata={}, path=seen.path)
    first, _ = _choose(host, seen, {})
    metadata, filters = _through_filters(manager, first or {}, seen)
    route, passed = _choose(host, seen, metadata)
    return Evaluation(
        virtual_host=str(host["name"]),
        route=route,
        passed=passed,
        filters=tuple(name for name in filters if not _is_disabled(route or {}, name)),
        metadata=metadata,
        path=seen.path,
    )


def virtual_host(routes: Json, authority: str) -> Json | None:
    """The virtual host for a `Host` header, by Envoy's order: exact, longest suffix, longest prefix, `*`.

    Domains are compared without regard to case, and with the port as it was sent unless the table ignores it (sources:
    `VirtualHost.domains`, `RouteConfiguration.ignore_port_in_host_matching`).
    """
    wanted = authority.lower()
    if routes.get("ignorePortInHostMatching"):
        wanted = _PORT.sub("", wanted)
    best: tuple[tuple[int, int], Json] | None = None
    for host in _list(routes, "virtualHosts"):
        for domain in host["domains"]:
            rank = _domain_rank(str(domain).lower(), wanted)
            if rank is not None and (best is None or rank > best[0]):
                best = rank, host
    return best[1] if best else None


def _domain_rank(domain: str, authority: str) -> tuple[int, int] | None:
    if domain == authority:
        return 3, len(domain)
    if domain == "*":
        return 0, 0
    if domain.startswith("*"):
        return (2, len(domain)) if authority.endswith(domain[1:]) and len(authority) >= len(domain) else None
    if domain.endswith("*"):
        return (1, len(domain)) if authority.startswith(domain[:-1]) and len(authority) >= len(domain) else None
    return None


def normalized(path: str, manager: Json) -> str:
    """The path as Envoy matches and forwards it: escaped slashes, dots and double slashes as the listener says."""
    plain, mark, query = path.partition("?")
    plain = plain.partition("#")[0]
    if manager.get("pathWithEscapedSlashesAction") == "UNESCAPE_AND_FORWARD":
        plain = _ESCAPED_SLASH.sub("/", plain)
    if manager.get("normalizePath"):
        plain = plain.replace("\\", "/")
    if manager.get("mergeSlashes"):
        plain = re.sub("/{2,}", "/", plain)
    if manager.get("normalizePath"):
        is_folder = plain.endswith(("/", "/.", "/.."))
        plain = posixpath.normpath(plain)
        plain = plain + "/" if is_folder and not plain.endswith("/") else plain
    return f"{plain}{mark}{query}"


def _choose(host: Json, request: Request, metadata: Metadata) -> tuple[Json | None, tuple[Passed, ...]]:
    for field_name in ("matcher", "requireTls"):
        if field_name in host:
            raise UnknownMatcherError(f"virtual host {host['name']}: {field_name}")
    passed: list[Passed] = []
    for route in _list(host, "routes"):
        why = mismatch(route["match"], request, metadata)
        if not why:
            return route, tuple(passed)
        passed.append(Passed(str(route.get("name", "")), why))
    return None, tuple(passed)


# --- filters ---


def _manager(listener: Json) -> Json:
    for chain in _list(listener, "filterChains"):
        for each in _list(chain, "filters"):
            if each["name"] == _MANAGER:
                config: Json = each["typedConfig"]
                return config
    raise UnknownMatcherError(f"listener {listener.get('name')}: no HTTP")


def _through_filters(manager: Json, first: Json, request: Request) -> tuple[Metadata, list[str]]:
    """What the body's readers note, and the filters that are on, by the route that the headers alone select."""
    metadata: dict[str, dict[str, object]] = {}
    names: list[str] = []
    for each in _list(manager, "httpFilters"):
        if _is_disabled(first, each["name"]) or each.get("disabled"):
            continue
        names.append(each["name"])
        config: Any = each.get("typedConfig", {})
        if str(config.get("@type", "")).endswith(_JSON_TO_METADATA) and "requestRules" in config:
            for namespace, values in body_metadata(config["requestRules"], request.body).items():
                metadata.setdefault(namespace, {}).update(values)
        if each["name"] == TOOLS_FILTER and has_tools(request.body):
            metadata.setdefault(KVPILOT_NAMESPACE, {})[TOOLS_KEY] = True
    return metadata, names


def _is_disabled(route: Json, name: str) -> bool:
    configs: Any = route.get("typedPerFilterConfig", {})
    return bool(configs.get(name, {}).get("disabled"))


def body_metadata(rules: Json, body: bytes) -> Metadata:
    """What `json_to_metadata` notes of a request's body; a body that is empty, or no object, lacks everything."""
    result: dict[str, dict[str, object]] = {}
    document: Any = None
    is_broken = False
    if body:
        try:
            document = json.loads(body)
        except ValueError:
            is_broken = True
    for rule in _list(rules, "rules"):
        found = document
        for selector in rule["selectors"]:
            found = found.get(selector["key"]) if isinstance(found, dict) else None
        outcome = "onError" if is_broken else "onPresent" if _is_value(found) else "onMissing"
        note: Any = rule.get(outcome)
        if note is None:
            continue
        values = result.setdefault(note.get("metadataNamespace", "envoy.lb"), {})
        if not (note.get("preserveExistingMetadataValue") and note["key"] in values):
            values[note["key"]] = note.get("value", found)
    return result


def _is_value(found: object) -> bool:
    if isinstance(found, str):
        return len(found.encode()) <= MAX_METADATA_VALUE
    return isinstance(found, bool | int | float)


def _list(resource: Json, key: str) -> Sequence[Any]:
    found: Any = resource.get(key, ())
    return list(found)
