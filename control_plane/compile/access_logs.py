"""Access logs to kvpilot: one record per attempt from the router, one per request from the listener.

They are how the picker learns what came of its decision; both carry the decision id, by which they join.
"""

from collections.abc import Sequence

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import (
    ATTEMPT_LOG,
    CACHED_TOKENS_KEY,
    COMPLETION_TOKENS_KEY,
    DECISION_HEADER,
    KVPILOT_CLUSTER,
    KVPILOT_NAMESPACE,
    MODEL_KEY,
    PROMPT_TOKENS_KEY,
    REQUEST_LOG,
)
from control_plane.compile.typed import Json, duration, extension
from ext_proc.signals.orca import HEADERS as LOAD_HEADERS

FLUSH_S = 0.05
"""Records are gathered for so long: an outcome may be this late, and a message carries many under load."""

ATTEMPT_PROGRESS_S = 0.25
"""How often a running attempt is reported again: this is when its first token becomes known."""

_REQUEST_METADATA = (MODEL_KEY, PROMPT_TOKENS_KEY, COMPLETION_TOKENS_KEY, CACHED_TOKENS_KEY)

# The router's upstream_log sees a request's metadata and durations, too; "first token" is the first body byte, for
# engines send their response headers before it.
_FIRST_TOKEN = "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%"
_ATTEMPT_FIRST_TOKEN = "%COMMON_DURATION(US_TX_BEG:US_RX_BODY_BEG:us)%"


def attempt_log(capabilities: Capabilities, *, loads: bool = False) -> Json:
    """The router's log: start, progress and end of each attempt; with `loads` also the load headers of its answer.

    This log and not the listener's, because it has the headers as the pod sent them, and says which pod it was.
    """
    tags = [_decision()]
    if capabilities.has(Feature.FIRST_TOKEN_TIME):
        tags += [_formatted("first_token_us", _FIRST_TOKEN), _formatted("attempt_first_token_us", _ATTEMPT_FIRST_TOKEN)]
    return _log(ATTEMPT_LOG, tags, LOAD_HEADERS if loads else ())


def request_log(capabilities: Capabilities) -> Json:
    """The listener's log: the end of each request."""
    tags = [_decision(), *(_metadata(key) for key in _REQUEST_METADATA)]
    if capabilities.has(Feature.FIRST_TOKEN_TIME):
        tags.append(_formatted("first_token_us", _FIRST_TOKEN))
    return _log(REQUEST_LOG, tags)


def _decision() -> Json:
    return {"tag": "decision", "requestHeader": {"name": DECISION_HEADER}}


def _metadata(key: str) -> Json:
    place = {"key": KVPILOT_NAMESPACE, "path": [{"key": key}]}
    return {"tag": key, "metadata": {"kind": {"request": {}}, "metadataKey": place}}


def _formatted(tag: str, value: str) -> Json:
    return {"tag": tag, "value": value}


def _log(name: str, tags: list[Json], answered: Sequence[str] = ()) -> Json:
    headers = list(answered)
    more = {"additionalResponseHeadersToLog": headers, "additionalResponseTrailersToLog": headers} if headers else {}
    return extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        {
            "commonConfig": {
                "logName": name,
                "grpcService": {"envoyGrpc": {"clusterName": KVPILOT_CLUSTER}},
                "transportApiVersion": "V3",
                "bufferFlushInterval": duration(FLUSH_S),
                "customTags": tags,
            },
            **more,
        },
    )
