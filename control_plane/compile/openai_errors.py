"""Error bodies in the shape of OpenAI's API reference, for what Envoy itself answers.

Envoy fills `%...%` in (access log formatter); `json_format` escapes what it fills in, so a client that sends quotes as
a model name cannot break the JSON.
"""

from dataclasses import dataclass

from control_plane.compile.typed import Json

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalError:
    """One error that Envoy can answer by itself."""

    status: int
    message: str
    type: str
    code: str
    param: str | None = None

    def body(self) -> Json:
        """The JSON of the answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


NOT_JSON = LocalError(
    status=400,
    message="The request body could not be parsed as JSON.",
    type=INVALID_REQUEST,
    code="invalid_json",
)
NO_MODEL = LocalError(
    status=400,
    message="You must provide a model parameter.",
    type=INVALID_REQUEST,
    code="missing_model",
    param="model",
)
UNKNOWN_MODEL = LocalError(
    status=404,
    message="The model '%DYNAMIC_METADATA(kvpilot:model)%' does not exist.",
    type=INVALID_REQUEST,
    code="model_not_found",
    param="model",
)
"""Bounded: `json_to_metadata` takes no value over 8 KiB, so an answer does not grow with what a client invents."""
UNKNOWN_MODEL_UNNAMED = LocalError(
    status=404,
    message="The requested model does not exist.",
    type=INVALID_REQUEST,
    code="model_not_found",
    param="model",
)
TOO_LARGE = LocalError(
    status=413,
    message="The request body is larger than this server accepts.",
    type=INVALID_REQUEST,
    code="request_too_large",
)
BAD_REQUEST = LocalError(
    status=400,
    message="The request is not valid HTTP.",
    type=INVALID_REQUEST,
    code="bad_request",
)
NOT_FOUND = LocalError(
    status=404,
    message="There is nothing here.",
    type=INVALID_REQUEST,
    code="not_found",
)
REQUEST_TIMEOUT = LocalError(
    status=408,
    message="The request took too long to arrive.",
    type=INVALID_REQUEST,
    code="request_timeout",
)
RATE_LIMITED = LocalError(
    status=429,
    message="Too many requests.",
    type="rate_limit_error",
    code="rate_limit_exceeded",
)
INTERNAL = LocalError(
    status=500,
    message="The gateway could not handle this request.",
    type=SERVER_ERROR,
    code="internal_error",
)
BAD_GATEWAY = LocalError(
    status=502,
    message="The inference server's answer could not be read.",
    type=SERVER_ERROR,
    code="bad_gateway",
)
UNAVAILABLE = LocalError(
    status=503,
    message="No inference server can take this request at the moment.",
    type=SERVER_ERROR,
    code="service_unavailable",
)
TIMEOUT = LocalError(
    status=504,
    message="The inference server did not answer in time.",
    type=SERVER_ERROR,
    code="timeout",
)
