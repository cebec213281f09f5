"""Conditions on texts and headers in Envoy's words."""

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
