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
    message="You must provide a model parameter: the body must be a JSON object whose `model` is a short string.",
    type=INVALID_REQUEST,
    code="missing_model",
    param="model",
)
"""Also for a body that is an array or a string, for a model that is an object, and for one over the 8 KiB that
`json_to_metadata` takes: that filter does not tell these apart."""
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
UNAUTHENTICATED = LocalError(
    status=401,
    message="A valid access token is needed: there is none, or it has expired or is not accepted here.",
    type=INVALID_REQUEST,
    code="invalid_token",
)
"""`www-authenticate` says which of these (RFC 6750, section 3)."""
FORBIDDEN = LocalError(
    status=403,
    message="This request is not allowed here.",
    type=INVALID_REQUEST,
    code="forbidden",
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
UPGRADE_REQUIRED = LocalError(
    status=426,
    message="This server speaks HTTP/1.1 and HTTP/2 only.",
    type=INVALID_REQUEST,
    code="upgrade_required",
)
HEADERS_TOO_LARGE = LocalError(
    status=431,
    message="The request's headers are larger than this server accepts.",
    type=INVALID_REQUEST,
    code="headers_too_large",
)
OTHER_CLIENT_ERROR = LocalError(
    status=400,
    message="The request cannot be handled.",
    type=INVALID_REQUEST,
    code="bad_request",
)
"""For any other 4xx; the answer keeps its own status."""
INTERNAL = LocalError(
    status=500,
    message="The gateway could not handle this request.",
    type=SERVER_ERROR,
    code="internal_error",
)
NOT_IMPLEMENTED = LocalError(
    status=501,
    message="This server does not support the request's transfer encoding.",
    type=SERVER_ERROR,
    code="not_implemented",
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
