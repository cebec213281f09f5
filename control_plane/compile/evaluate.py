"""Which route a request takes, decided on the compiled resources as Envoy decides it. Pure.

    found = evaluate(compiled.listeners["openai"], compiled.routes["openai"], Request(body=b'{"model": "m"}'))
    found.route["name"]      # "model/llama-3-8b"
    found.passed             # the routes before it, each with why it did not match

What `kvpilot explain` and `kvpilot test` say comes from here, so it cannot drift from what Envoy gets: it knows the
matchers that the compiler emits and refuses all others. Sources: Envoy's `RouteMatch`, `VirtualHost`, `HeaderMatcher`,
`QueryParameterMatcher`, `MetadataMatcher` and `json_to_metadata`; the same table of requests is put to a real Envoy in
`tests/conformance/test_evaluate_on_envoy.py`.

Envoy chooses twice: by headers alone (the filters of a request are those that this route leaves on), then, once
`json_to_metadata` has read the body, again.
"""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from control_plane.compile.typed import Json

_JSON_TO_METADATA = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
_MANAGER = "envoy.filters.network.http_connection_manager"

MAX_METADATA_VALUE = 8 * 1024
"""Bytes of a value that `json_to_metadata` takes; a longer one counts as missing (its own bound)."""

_ESCAPED_SLASH = re.compile("%2[Ff]|%5[Cc]")

_PORT = re.compile(":[0-9]*$")

Metadata = Mapping[str, Mapping[str, object]]
"""Namespace → key → value."""


class UnknownMatcherError(Exception):
    """The configuration asks for something that this module does not know how to judge; nothing is guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Header names are in lower case; `path` may have a query string."""

    path: str = "/v1/chat/completions"
    method: str = "POST"
    authority: str = "localhost"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


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


def mismatch(match: Json, request: Request, metadata: Metadata) -> str:
    """Why a `RouteMatch` does not take a request; empty when it does. Raises UnknownMatcherError."""
    for name, value in match.items():
        check = _CHECKS.get(name)
        if check is None:
            raise UnknownMatcherError(f"a route match by {name}")
        why = check(value, match, request, metadata)
        if why:
            return why
    return ""


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


# --- conditions: each gives the reason why it does not hold, or nothing ---


def _path_of(match: Json, request: Request) -> tuple[str, bool]:
    plain = request.path.partition("?")[0]
    is_exact = bool(match.get("caseSensitive", True))
    return (plain if is_exact else plain.lower()), is_exact


def _prefix(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    path, is_exact = _path_of(match, request)
    wanted = value if is_exact else value.lower()
    return "" if path.startswith(wanted) else f"the path does not start with {value}"


def _path(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    path, is_exact = _path_of(match, request)
    return "" if path == (value if is_exact else value.lower()) else f"the path is not {value}"


def _separated_prefix(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    path, is_exact = _path_of(match, request)
    wanted = value if is_exact else value.lower()
    return "" if path == wanted or path.startswith(wanted + "/") else f"the path is not {value} or below it"


def _regex(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    path = request.path.partition("?")[0]
    return "" if _matches(value["regex"], path) else f"the path does not match {value['regex']}"


def _nothing(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    return ""  # a modifier of another key


def _headers(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    for matcher in value:
        why = _header_mismatch(matcher, request)
        if why:
            return why
    return ""


def _header_mismatch(matcher: Json, request: Request) -> str:
    _only(matcher, {"name", "stringMatch", "presentMatch", "invertMatch", "treatMissingHeaderAsEmpty"}, "a header")
    name = str(matcher["name"]).lower()
    found = _header(name, request)
    is_inverted = bool(matcher.get("invertMatch"))
    shown = {":method": "the method", ":path": "the path", ":authority": "the host"}.get(name, f"the header {name}")
    if "stringMatch" not in matcher:
        is_wanted = bool(matcher.get("presentMatch", True)) != is_inverted
        return "" if (found is not None) == is_wanted else f"{shown} is {'missing' if is_wanted else 'there'}"
    if found is None and not matcher.get("treatMissingHeaderAsEmpty"):
        return f"{shown} is missing"  # whatever is asked of its value, also the opposite
    condition: Any = matcher["stringMatch"]
    if _string_holds(condition, found or "") != is_inverted:
        return ""
    return f"{shown} is {'' if is_inverted else 'not '}{_string_words(condition)}"


def _header(name: str, request: Request) -> str | None:
    special = {":method": request.method, ":path": request.path, ":authority": request.authority}
    return special.get(name) or request.headers.get("host" if name == ":authority" else name)


def _query(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    parameters: dict[str, str] = {}
    for part in request.path.partition("?")[2].partition("#")[0].split("&"):
        key, _, text = part.partition("=")
        parameters.setdefault(key, text)  # Envoy looks at the first of several, and does not decode
    for matcher in value:
        _only(matcher, {"name", "stringMatch", "presentMatch"}, "a query parameter")
        found = parameters.get(matcher["name"])
        if found is None:
            is_wanted = "stringMatch" in matcher or matcher.get("presentMatch", True)
            if is_wanted:
                return f"the query parameter {matcher['name']} is missing"
        elif "stringMatch" in matcher:
            if not _string_holds(matcher["stringMatch"], found):
                return f"the query parameter {matcher['name']} is not {_string_words(matcher['stringMatch'])}"
        elif not matcher.get("presentMatch", True):
            return f"the query parameter {matcher['name']} is there"
    return ""


def _metadata(value: Any, match: Json, request: Request, metadata: Metadata) -> str:
    for matcher in value:
        _only(matcher, {"filter", "path", "value", "invert"}, "metadata")
        keys = [step["key"] for step in matcher["path"]]
        found: Any = metadata.get(matcher["filter"], {})
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if _value_holds(matcher["value"], found) == bool(matcher.get("invert")):
            shown = f"the body's {keys[-1]}" if keys else "the metadata"
            said = "not there" if found is None else f"{found!r}" if isinstance(found, str) else str(found).lower()
            wanted = f"{'not ' if matcher.get('invert') else ''}{_value_words(matcher['value'])}"
            return f"{shown} is {said}, wanted: {wanted}"
    return ""


_CHECKS = {
    "prefix": _prefix,
    "path": _path,
    "pathSeparatedPrefix": _separated_prefix,
    "safeRegex": _regex,
    "caseSensitive": _nothing,
    "headers": _headers,
    "queryParameters": _query,
    "dynamicMetadata": _metadata,
}
"""Key of a `RouteMatch` → what it demands."""


def _string_holds(matcher: Json, text: str) -> bool:
    """Envoy's `StringMatcher`."""
    _only(matcher, {"exact", "prefix", "suffix", "contains", "safeRegex", "ignoreCase"}, "a text")
    if "safeRegex" in matcher:
        regex: Any = matcher["safeRegex"]
        return _matches(regex["regex"], text)
    way, wanted = next((key, str(value)) for key, value in matcher.items() if key != "ignoreCase")
    if matcher.get("ignoreCase"):
        text, wanted = text.lower(), wanted.lower()
    return {
        "exact": text == wanted,
        "prefix": text.startswith(wanted),
        "suffix": text.endswith(wanted),
        "contains": wanted in text,
    }[way]


def _matches(regex: str, text: str) -> bool:
    """Whether the whole text matches; what RE2 knows and Python does not is not guessed."""
    try:
        return re.fullmatch(regex, text, re.DOTALL) is not None
    except re.error as error:
        raise UnknownMatcherError(f"the expression {regex}: {error}") from error


def _string_words(matcher: Json) -> str:
    words = {"exact": "{}", "prefix": "{}…", "suffix": "…{}", "contains": "…{}…"}
    for way, form in words.items():
        if way in matcher:
            return form.format(matcher[way])
    regex: Any = matcher["safeRegex"]
    return f"/{regex['regex']}/"


def _value_holds(matcher: Json, found: object) -> bool:
    """Envoy's `ValueMatcher`; `found` is None where there is no such value."""
    _only(matcher, {"stringMatch", "boolMatch", "presentMatch", "orMatch"}, "a value")
    if "orMatch" in matcher:
        either: Any = matcher["orMatch"]
        return any(_value_holds(each, found) for each in either["valueMatchers"])
    if "presentMatch" in matcher:
        return (found is not None) == bool(matcher["presentMatch"])
    if "boolMatch" in matcher:
        return isinstance(found, bool) and found == matcher["boolMatch"]
    condition: Any = matcher["stringMatch"]
    return isinstance(found, str) and _string_holds(condition, found)


def _value_words(matcher: Json) -> str:
    if "orMatch" in matcher:
        either: Any = matcher["orMatch"]
        return " or ".join(_value_words(each) for each in either["valueMatchers"])
    if "presentMatch" in matcher:
        return "any" if matcher["presentMatch"] else "none"
    condition: Any = matcher.get("stringMatch")
    return str(matcher["boolMatch"]).lower() if condition is None else _string_words(condition)


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


def _only(matcher: Json, known: set[str], what: str) -> None:
    unknown = set(matcher) - known
    if unknown:
        raise UnknownMatcherError(f"a condition on {what} by {', '.join(sorted(unknown))}")
