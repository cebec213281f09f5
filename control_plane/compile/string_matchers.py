"""Conditions on texts, headers and metadata in Envoy's words."""

from collections.abc import Sequence

from control_plane.compile.typed import Json
from control_plane.policy.matching import ValueMatch
from control_plane.policy.string_match import Condition


def string_matcher(match: Condition) -> Json:
    """Envoy's `StringMatcher`; the policy's checks have seen that exactly one condition is there."""
    if match.exact is not None:
        return {"exact": match.exact}
    if match.prefix is not None:
        return {"prefix": match.prefix}
    return {"safeRegex": {"regex": match.regex}}


def header_matcher(name: str, match: Condition) -> Json:
    """Envoy's `HeaderMatcher`: the header is there and fulfils the condition."""
    return {"name": name, "stringMatch": string_matcher(match)}


def header_condition(name: str, condition: ValueMatch) -> Json:
    """The same, or whether the header is there at all."""
    if condition.present is not None:
        return {"name": name, "presentMatch": condition.present}
    return header_matcher(name, condition)


def pattern_matcher(pattern: str) -> Json:
    """Envoy's `StringMatcher` of Istio's patterns: exact, `prefix*`, `*suffix`; `*` is anything but nothing."""
    if pattern == "*":
        return {"safeRegex": {"regex": ".+"}}
    if pattern.endswith("*"):
        return {"prefix": pattern[:-1]}
    if pattern.startswith("*"):
        return {"suffix": pattern[1:]}
    return {"exact": pattern}


def metadata_matcher(namespace: str, path: Sequence[str], value: Json) -> Json:
    """Envoy's `MetadataMatcher`: what stands at `path` in a namespace fulfils the condition `value`."""
    return {"filter": namespace, "path": [{"key": step} for step in path], "value": value}
