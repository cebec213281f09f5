"""What Envoy answers by itself, as OpenAI-shaped JSON instead of its plain text.

A local reply is recognised by its status and, except for those that Envoy sends without one, by a response flag:
answers of the picker (429, 503, 400) and of our own direct responses pass through here, too, carry no flag, and stay as
they are.
"""

from control_plane.compile import openai_errors
from control_plane.compile.names import KVPILOT_NAMESPACE, MODEL_KEY
from control_plane.compile.openai_errors import LocalError
from control_plane.compile.typed import Json

JSON_CONTENT_TYPE = "application/json"

RETRY_AFTER_S = 1
"""When a client should ask again while no pod is available: connections heal and pods come back in seconds."""

_FLAGGED = (
    openai_errors.BAD_REQUEST,
    openai_errors.NOT_FOUND,
    openai_errors.REQUEST_TIMEOUT,
    openai_errors.RATE_LIMITED,
    openai_errors.BAD_GATEWAY,
    openai_errors.TIMEOUT,
)


def local_reply_config() -> Json:
    """`HttpConnectionManager.local_reply_config`; the first mapper that matches decides."""
    return {
        "mappers": [
            _mapper(openai_errors.UNKNOWN_MODEL, _all_of(_status(404), _has_model())),
            # Neither carries a flag, and the picker sends neither.
            _mapper(openai_errors.TOO_LARGE, _status(413)),
            _mapper(openai_errors.INTERNAL, _status(500)),
            {
                **_mapper(openai_errors.UNAVAILABLE, _all_of(_status(503), _flagged())),
                "headersToAdd": [_header("retry-after", str(RETRY_AFTER_S))],
            },
            *(_mapper(error, _all_of(_status(error.status), _flagged())) for error in _FLAGGED),
        ]
    }


def _mapper(error: LocalError, condition: Json) -> Json:
    return {
        "filter": condition,
        "bodyFormatOverride": {"jsonFormat": error.body(), "contentType": JSON_CONTENT_TYPE},
    }


def _status(code: int) -> Json:
    # A runtime key is required; nobody sets it, so the default is what counts.
    value = {"defaultValue": code, "runtimeKey": f"kvpilot.local_reply.{code}"}
    return {"statusCodeFilter": {"comparison": {"op": "EQ", "value": value}}}


def _flagged() -> Json:
    # No flags listed: any.
    return {"responseFlagFilter": {}}


def _has_model() -> Json:
    return {
        "metadataFilter": {
            "matcher": {
                "filter": KVPILOT_NAMESPACE,
                "path": [{"key": MODEL_KEY}],
                "value": {"presentMatch": True},
            },
            "matchIfKeyNotFound": False,
        }
    }


def _all_of(*conditions: Json) -> Json:
    return {"andFilter": {"filters": list(conditions)}}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}
