"""Conditions of routes, beside what tests/conformance/test_evaluate_on_envoy.py holds against Envoy."""

from typing import Any

import pytest

from control_plane.compile.conditions import Request, UnknownMatcherError, mismatch


@pytest.mark.parametrize(
    "match",
    [
        {"grpc": {}},
        {"prefix": "/", "headers": [{"name": "a", "containsMatch": {}}]},
        {"prefix": "/", "headers": [{"name": "a", "stringMatch": {"custom": {}}}]},
        {"prefix": "/", "queryParameters": [{"name": "a", "stringMatch": {"unheard": "of"}}]},
        {"prefix": "/", "dynamicMetadata": [{"filter": "a", "path": [{"key": "b"}], "value": {"listMatch": {}}}]},
        {"prefix": "/", "dynamicMetadata": [{"filter": "a", "path": [{"key": "b"}], "value": {"doubleMatch": {}}}]},
        {"prefix": "/", "runtimeFraction": {}},
        {"safeRegex": {"regex": r"/\pL+"}},
    ],
)
def test_nothing_is_guessed(match: Any) -> None:
    """A matcher that is not known is an error, whatever it would say."""
    request = Request(path="/?a=1", headers={"a": "b"})
    with pytest.raises(UnknownMatcherError):
        mismatch(match, request, {"a": {"b": 1.0}})
