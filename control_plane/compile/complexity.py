"""How much a request asks for, as conditions of routes: the length of its prompt, the bound on its answer, its tools.

Envoy judges all three by itself, so that rules hold while the picker does not answer:

- the prompt by `content-length`, which clients send with a body that they have as a whole;
- the bound on the answer by numbers that `json_to_metadata` reads beside the model;
- tools by a short Lua script, since for `json_to_metadata` a list is a missing value (seen with Envoy 1.40).

What is not said counts as much: a condition `lessThan` is not met, so that a cheaper pool gets what surely is for it.
Sources: Envoy's `HeaderMatcher.range_match`, `MetadataMatcher`, `DoubleMatcher`, `json_to_metadata`, the Lua filter.
"""

import re

from control_plane.compile.names import ASKED_TOKENS_KEY, KVPILOT_NAMESPACE, TOOLS_KEY
from control_plane.compile.string_matchers import metadata_matcher
from control_plane.compile.typed import Json, extension
from control_plane.policy.matching import RuleMatch, TokenRange

LENGTH_HEADER = "content-length"

TOOLS_FILTER = "kvpilot.tools"
"""The filter's name; the Lua of rewritten models has another one, and both may be there."""

BYTES_PER_TOKEN = 4
"""Of a body. English prose has about four characters a token with the tokenizers of today's models; JSON's own
characters add some percent."""

ANSWER_BOUNDS = ("max_tokens", "max_output_tokens", "max_completion_tokens")
"""Keys of a body; the last one that is there counts, as for engines, which prefer the newer name."""

MAX_SCANNED_BYTES = 16 * 1024 * 1024
"""A longer body counts as one with tools: it is as large as a request may be by default, and costs milliseconds."""

MAX_SCANNED_KEYS = 1_000
"""So often the word may be there without a list behind it; a body of nothing else counts as one with tools."""

_TOOLS = re.compile(rb'"tools"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*[^] \t\r\n]')

# A quote within a text is `\"`, so `"tools"` with a colon behind it is a key. `%]` first: a list with nothing in it.
_SOURCE = f"""\
function envoy_on_request(handle)
  local body = handle:body()
  if body == nil then return end
  local length = body:length()
  local has = length > {MAX_SCANNED_BYTES}
  if not has and length > 0 then
    local text, position = body:getBytes(0, length), 1
    for count = 1, {MAX_SCANNED_KEYS} do
      local at, stop = string.find(text, '"tools"', position, true)
      if at == nil then break end
      has = count == {MAX_SCANNED_KEYS} or
        string.find(text, '^[ \\t\\r\\n]*:[ \\t\\r\\n]*%[[ \\t\\r\\n]*[^%] \\t\\r\\n]', stop + 1) ~= nil
      if has then break end
      position = stop + 1
    end
  end
  if has then
    handle:streamInfo():dynamicMetadata():set("{KVPILOT_NAMESPACE}", "{TOOLS_KEY}", true)
    handle:clearRouteCache()
  end
end
"""


def has_tools(body: bytes) -> bool:
    """Whether a body offers tools, as the script finds it."""
    if len(body) > MAX_SCANNED_BYTES or _TOOLS.search(body) is not None:
        return True
    return body.count(b'"tools"') >= MAX_SCANNED_KEYS


def tools_filter() -> Json:
    """The filter that notes which bodies offer tools; it stands behind the one that notes their model."""
    message = "envoy.extensions.filters.http.lua.v3.Lua"
    return extension(TOOLS_FILTER, message, {"defaultSourceCode": {"inlineString": _SOURCE}})


def bound_rules() -> list[Json]:
    """What `json_to_metadata` is to read of the bound on the answer."""
    noted = {"metadataNamespace": KVPILOT_NAMESPACE, "key": ASKED_TOKENS_KEY}
    return [{"selectors": [{"key": key}], "onPresent": noted} for key in ANSWER_BOUNDS]


def conditions_on_headers(match: RuleMatch) -> tuple[Json, ...]:
    """What the length of the body must be."""
    found: list[Json] = []
    tokens = match.prompt_tokens
    if tokens is not None and tokens.less_than is not None:
        found.append(_length_below(tokens.less_than))
    if tokens is not None and tokens.at_least is not None:
        # Turned round, so that a length that nobody told is above all bounds.
        found.append(_length_below(tokens.at_least) | {"invertMatch": True, "treatMissingHeaderAsEmpty": True})
    return tuple(found)


def conditions_on_body(match: RuleMatch) -> tuple[Json, ...]:
    """What must have been read from the body."""
    found = [] if match.max_tokens is None else _bound(match.max_tokens)
    if match.tools is not None:
        offered = metadata_matcher(KVPILOT_NAMESPACE, (TOOLS_KEY,), {"boolMatch": True})
        found.append(offered if match.tools else offered | {"invert": True})
    return tuple(found)


def _length_below(tokens: int) -> Json:
    return {"name": LENGTH_HEADER, "rangeMatch": {"start": "0", "end": str(tokens * BYTES_PER_TOKEN)}}


def _bound(tokens: TokenRange) -> list[Json]:
    found: list[Json] = []
    if tokens.less_than is not None:
        found.append(_bound_below(tokens.less_than))
    if tokens.at_least is not None:
        found.append(_bound_below(tokens.at_least) | {"invert": True})
    return found


def _bound_below(tokens: int) -> Json:
    # A negative bound is none: with -1 llama.cpp goes on for as long as it can; others refuse it.
    below: Json = {"doubleMatch": {"range": {"start": 0, "end": tokens}}}
    return metadata_matcher(KVPILOT_NAMESPACE, (ASKED_TOKENS_KEY,), below)
