"""Answers of Envoy's own: a status and an OpenAI-shaped body, as a route."""

import json

from control_plane.compile.local_replies import JSON_CONTENT_TYPE
from control_plane.compile.openai_errors import INVALID_REQUEST, RATE_LIMITED, SERVER_ERROR, LocalError
from control_plane.compile.typed import Json, set_header
from control_plane.policy.routing import DirectResponse

REFUSED_CODE = "refused_by_rule"
"""`code` of an answer that a rule of the policy gives."""


def answer(name: str, match: Json, error: LocalError, filters: Json) -> Json:
    """A route that answers with `error`."""
    return {
        "name": name,
        "match": match,
        "directResponse": {
            "status": error.status,
            "body": {"inlineString": json.dumps(error.body(), ensure_ascii=False)},
        },
        "responseHeadersToAdd": [set_header("content-type", JSON_CONTENT_TYPE)],
        "typedPerFilterConfig": filters,
    }


def error_of(response: DirectResponse) -> LocalError:
    """The error object for a rule's own answer: its type follows from the status."""
    kind = SERVER_ERROR if response.status >= 500 else INVALID_REQUEST
    if response.status == RATE_LIMITED.status:
        kind = RATE_LIMITED.type
    return LocalError(status=response.status, message=response.message, type=kind, code=REFUSED_CODE)
