"""What Envoy answers by itself, as OpenAI-shaped JSON instead of its plain text.

Answers of the picker (400, 429, 503) and of our own direct responses (400, 404) pass through here, too, and stay as
they are. What tells Envoy's own answers from them:

- a status that neither of the two sends;
- a response flag: they carry none. Not every answer of Envoy's carries one, and one to a request that is not even HTTP
  gets it only after this;
- a body that was not read: the picker is asked, and the body's faults are told, only after `json_to_metadata` has noted
  a model or a fault. So this holds where there is that filter.
"""

from control_plane.compile import openai_errors
from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import ANSWER_HEADER, BODY_KEY, KVPILOT_NAMESPACE, MODEL_KEY
from control_plane.compile.needs import ORDINARY, Needs
from control_plane.compile.openai_errors import LocalError
from control_plane.compile.string_matchers import metadata_matcher
from control_plane.compile.typed import Json, set_header
from control_plane.policy.rate_limits import LIMITED_STATUS

JSON_CONTENT_TYPE = "application/json"

RETRY_AFTER_S = 1
"""When a client should ask again while no pod is available: connections heal and pods come back in seconds."""

_ONLY_ENVOYS = (
    openai_errors.UNAUTHENTICATED,
    openai_errors.FORBIDDEN,
    openai_errors.REQUEST_TIMEOUT,
    openai_errors.TOO_LARGE,
    openai_errors.UPGRADE_REQUIRED,
    openai_errors.HEADERS_TOO_LARGE,
    openai_errors.INTERNAL,
    openai_errors.NOT_IMPLEMENTED,
    openai_errors.BAD_GATEWAY,
    openai_errors.TIMEOUT,
)
_SHARED = (openai_errors.BAD_REQUEST, openai_errors.NOT_FOUND, openai_errors.RATE_LIMITED)


def local_reply_config(capabilities: Capabilities, needs: Needs = ORDINARY) -> Json:
    """`HttpConnectionManager.local_reply_config`; the first mapper that matches decides.

    The same whether or not there are rules that answer, or virtual hosts: a listener that changes drains connections,
    and an edit of routes must not cost that.
    """
    reads_bodies = capabilities.has(Feature.MODEL_ROUTING) and needs.model
    own = _any_of(_flagged(), _unread()) if reads_bodies else _flagged()
    mappers = [
        {"filter": _answered()},
        # A host name that no virtual host has. Its body may have been read, and name a model, all the same.
        _mapper(openai_errors.NOT_FOUND, _all_of(_status(404), _flagged("NR"))),
        _mapper(openai_errors.UNKNOWN_MODEL, _all_of(_status(404), _noted(MODEL_KEY))),
        # What the rate limit says; see `policy.rate_limits.LIMITED_STATUS`.
        {
            **_mapper(openai_errors.RATE_LIMITED, _status(LIMITED_STATUS)),
            "statusCode": openai_errors.RATE_LIMITED.status,
        },
        *(_mapper(error, _status(error.status)) for error in _ONLY_ENVOYS),
        {
            **_mapper(openai_errors.UNAVAILABLE, _all_of(_status(503), own)),
            "headersToAdd": [set_header("retry-after", str(RETRY_AFTER_S))],
        },
        *(_mapper(error, _all_of(_status(error.status), own)) for error in _SHARED),
        _mapper(openai_errors.INTERNAL, _all_of(_status(500, "GE"), own)),
        _mapper(openai_errors.OTHER_CLIENT_ERROR, _all_of(_status(400, "GE"), own)),
    ]
    return {"mappers": mappers}


def _mapper(error: LocalError, condition: Json) -> Json:
    return {
        "filter": condition,
        "bodyFormatOverride": {"jsonFormat": error.body(), "contentType": JSON_CONTENT_TYPE},
    }


def _answered() -> Json:
    """An answer that a rule has the words for; a mapper for it changes nothing."""
    return {"headerFilter": {"header": {"name": ANSWER_HEADER, "presentMatch": True}}}


def _status(code: int, operator: str = "EQ") -> Json:
    # A runtime key is required; nobody sets it, so the default is what counts.
    key = f"kvpilot.local_reply.{code}" if operator == "EQ" else f"kvpilot.local_reply.{operator.lower()}_{code}"
    return {
        "statusCodeFilter": {"comparison": {"op": operator, "value": {"defaultValue": code, "runtimeKey": key}}},
    }


def _flagged(*flags: str) -> Json:
    # No flags listed: any.
    return {"responseFlagFilter": {"flags": list(flags)} if flags else {}}


def _unread() -> Json:
    return _all_of(_not_noted(MODEL_KEY), _not_noted(BODY_KEY))


def _noted(key: str) -> Json:
    return _metadata(key, {"presentMatch": True}, if_missing=False)


def _not_noted(key: str) -> Json:
    # What is noted is never null.
    return _metadata(key, {"nullMatch": {}}, if_missing=True)


def _metadata(key: str, value: Json, *, if_missing: bool) -> Json:
    matcher = metadata_matcher(KVPILOT_NAMESPACE, (key,), value)
    return {"metadataFilter": {"matcher": matcher, "matchIfKeyNotFound": if_missing}}


def _all_of(*conditions: Json) -> Json:
    return {"andFilter": {"filters": list(conditions)}}


def _any_of(*conditions: Json) -> Json:
    return {"orFilter": {"filters": list(conditions)}}
