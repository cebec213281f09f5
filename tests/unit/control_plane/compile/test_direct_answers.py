"""Answers of Envoy's own."""

import json

import pytest

from control_plane.compile.direct_answers import answer, error_of
from control_plane.policy.routing import MAX_MESSAGE, DirectResponse

MAX_ENVOY_BYTES = 4096
"""`RouteConfiguration.max_direct_response_body_size_bytes`, when it is not set."""


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error"), (599, "server_error")],
)
def test_kinds_of_errors(status: int, kind: str) -> None:
    """OpenAI's kind follows from the status."""
    error = error_of(DirectResponse(status=status, message="No."))
    assert (error.status, error.type, error.message) == (status, kind, "No.")


def test_a_route() -> None:
    """Its body is the error object."""
    route = answer("rule/r", {"prefix": "/"}, error_of(DirectResponse(status=403, message="É%")), {})
    direct = route["directResponse"]
    assert json.loads(direct["body"]["inlineString"])["error"]["message"] == "É%"  # type: ignore[index]


def test_the_longest_message_fits() -> None:
    """Envoy refuses a route table with a larger body."""
    for letter in ('"', "𝄞", "é"):
        route = answer("r", {}, error_of(DirectResponse(status=403, message=letter * MAX_MESSAGE)), {})
        body = route["directResponse"]["body"]["inlineString"]  # type: ignore[index]
        assert len(body.encode()) <= MAX_ENVOY_BYTES
