"""Whether a request meets the conditions of a route, judged as Envoy judges them. Pure.

    mismatch({"prefix": "/v1"}, Request(path="/"), {})    # "the path does not start with /v1"

Knows the matchers that the compiler emits and refuses all others. Sources: Envoy's `RouteMatch`, `HeaderMatcher`,
`QueryParameterMatcher`, `MetadataMatcher`, `StringMatcher`, `ValueMatcher`, `DoubleMatcher`, `Int64Range`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.compile.typed import Json
from control_plane.policy.regex_match import full_match

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


# --- each gives the reason why it does not hold, or nothing ---


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
    known = {"name", "stringMatch", "rangeMatch", "presentMatch", "invertMatch", "treatMissingHeaderAsEmpty"}
    _only(matcher, known, "a header")
    name = str(matcher["name"]).lower()
    found = _header(name, request)
    is_inverted = bool(matcher.get("invertMatch"))
    shown = {":method": "the method", ":path": "the path", ":authority": "the host"}.get(name, f"the header {name}")
    if "stringMatch" not in matcher and "rangeMatch" not in matcher:
        is_wanted = bool(matcher.get("presentMatch", True)) != is_inverted
        return "" if (found is not None) == is_wanted else f"{shown} is {'missing' if is_wanted else 'there'}"
    if found is None and not matcher.get("treatMissingHeaderAsEmpty"):
        return f"{shown} is missing"  # whatever is asked of its value, also the opposite
    condition: Any = matcher.get("stringMatch") or matcher["rangeMatch"]
    is_text = "stringMatch" in matcher
    if (_string_holds(condition, found or "") if is_text else _is_between(condition, found or "")) != is_inverted:
        return ""
    words = _string_words(condition) if is_text else f"in {condition['start']}..{int(condition['end']) - 1}"
    if not is_text and found:
        shown += f" ({found})"
    return f"{shown} is {'' if is_inverted else 'not '}{words}"


def _is_between(range_: Json, text: str) -> bool:
    """Envoy's `Int64Range`, which takes decimal digits with a sign and nothing else."""
    if re.fullmatch("-?[0-9]{1,19}", text) is None:
        return False
    return int(str(range_["start"])) <= int(text) < int(str(range_["end"]))


def _header(name: str, request: Request) -> str | None:
    special = {":method": request.method, ":path": request.path, ":authority": request.authority}
    if name == "content-length" and request.body:
        special[name] = request.headers.get(name, "" if "transfer-encoding" in request.headers else _length(request))
    return special.get(name) or request.headers.get("host" if name == ":authority" else name)


def _length(request: Request) -> str:
    """What a client says that sends its body as a whole."""
    return str(len(request.body))


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
    """Whether the whole text matches; what RE2 knows and Python does not is not guessed.

    In RE2 `.` does not take a line break, and `\\d`, `\\w`, `\\s` are ASCII, unless a flag says otherwise.
    """
    try:
        return full_match(regex, text)
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
    _only(matcher, {"stringMatch", "boolMatch", "doubleMatch", "presentMatch", "orMatch"}, "a value")
    if "orMatch" in matcher:
        either: Any = matcher["orMatch"]
        return any(_value_holds(each, found) for each in either["valueMatchers"])
    if "presentMatch" in matcher:
        return (found is not None) == bool(matcher["presentMatch"])
    if "doubleMatch" in matcher:
        number: Any = matcher["doubleMatch"]
        if "range" not in number:
            raise UnknownMatcherError("a condition on a number by its value")
        range_ = number["range"]
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return is_number and range_["start"] <= found < range_["end"]
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
    number: Any = matcher.get("doubleMatch")
    if number is not None:
        return f"less than {number['range']['end']:g}"
    condition: Any = matcher.get("stringMatch")
    return str(matcher["boolMatch"]).lower() if condition is None else _string_words(condition)


def _only(matcher: Json, known: set[str], what: str) -> None:
    unknown = set(matcher) - known
    if unknown:
        raise UnknownMatcherError(f"a condition on {what} by {', '.join(sorted(unknown))}")
