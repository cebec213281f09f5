"""Token usage from answers, into metadata for the access logs: no message to kvpilot, no answer waits for Python."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import (
    CACHED_TOKENS_KEY,
    COMPLETION_TOKENS_KEY,
    KVPILOT_NAMESPACE,
    PROMPT_TOKENS_KEY,
)
from control_plane.compile.typed import Json, extension

USAGE_FILTER = "kvpilot.usage"
"""A second `json_to_metadata`; routes tell the two apart by this name."""
STREAM_USAGE_FILTER = "envoy.filters.http.sse_to_metadata"

MAX_SSE_EVENT_BYTES = 64 * 1024
"""A usage event is a few hundred bytes; what is longer is passed on unread."""

_FILTERS = "envoy.extensions.filters.http"


def usage_filters(capabilities: Capabilities) -> list[Json]:
    """The filters that this Envoy has, for plain answers and for streams."""
    filters = []
    if capabilities.has(Feature.MODEL_ROUTING):
        filters.append(_plain())
    if capabilities.has(Feature.STREAM_USAGE):
        filters.append(_streams())
    return filters


def _rules() -> list[Json]:
    """Where token counts stand: OpenAI's chat and completions, its responses, and Anthropic's messages."""
    places = {
        PROMPT_TOKENS_KEY: (("usage", "prompt_tokens"), ("usage", "input_tokens")),
        COMPLETION_TOKENS_KEY: (("usage", "completion_tokens"), ("usage", "output_tokens")),
        CACHED_TOKENS_KEY: (
            ("usage", "prompt_tokens_details", "cached_tokens"),
            ("usage", "input_tokens_details", "cached_tokens"),
            ("usage", "cache_read_input_tokens"),
        ),
    }
    return [
        {
            "selectors": [{"key": step} for step in path],
            "onPresent": {"metadataNamespace": KVPILOT_NAMESPACE, "key": key, "type": "NUMBER"},
        }
        for key, paths in places.items()
        for path in paths
    ]


def _plain() -> Json:
    return extension(
        USAGE_FILTER,
        f"{_FILTERS}.json_to_metadata.v3.JsonToMetadata",
        {"responseRules": {"rules": _rules(), "allowContentTypesRegex": {"regex": "application/json.*"}}},
    )


def _streams() -> Json:
    parser = extension(
        "envoy.content_parsers.json",
        "envoy.extensions.content_parsers.json.v3.JsonContentParser",
        {"rules": [{"rule": rule} for rule in _rules()]},
    )
    return extension(
        STREAM_USAGE_FILTER,
        f"{_FILTERS}.sse_to_metadata.v3.SseToMetadata",
        {"responseRules": {"contentParser": parser, "maxEventSize": MAX_SSE_EVENT_BYTES}},
    )
