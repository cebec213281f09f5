"""What a scenario file may hold: requests, the state of the fleet, and what is expected. Read like a policy.

policy: canary.yaml
scenarios:
  - name: a warm cache wins
    request: {model: llama-3-8b, promptTokens: 4000}
    fleet: {"127.0.0.1:8002": {cachedTokens: 3000}}
    expect: {pool: stable, pick: "127.0.0.1:8002"}
"""

from collections.abc import Mapping

from control_plane.compile.capability import NEWEST_TESTED
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import MapOf, NamedList
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.json_value import JsonValue
from control_plane.policy.names import PLACE
from control_plane.policy.scalars import Boolean, Choice, Integer, Text

MAX_TEXT = 1024
"""Characters of a name, a path or a header's value."""

MAX_TOKENS = 1_000_000
"""Tokens of a prompt: more than any engine's context."""

MAX_LOAD = 100_000
"""Requests on one endpoint: more than any engine takes."""

MAX_STATES = 10_000
"""Endpoints whose state a scenario gives."""

_SOME_TEXT = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]+", MAX_TEXT, code=Code.NOT_A_VALUE)
_ANY_TEXT = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]*", MAX_TEXT, code=Code.NOT_A_VALUE)
_HEADER = Text("the name of a header (letters, digits, `-`, `_`)", "[A-Za-z0-9_-]+", 128, is_lower_cased=True)
_METHOD = Text("a method (letters)", "[A-Za-z]+", 32)
_PATH = Text("a path that starts with `/`", "/[^\\x00-\\x20\\x7f]*", MAX_TEXT, code=Code.NOT_A_VALUE)
_ADDRESS = Text("an address `ip:port`", "[0-9a-fA-F.:\\[\\]]+", 64, code=Code.BAD_ADDRESS)
_VERSION = Text("a version such as `1.38`", "[0-9]{1,4}[.][0-9]{1,4}(?:[.][0-9]{1,4})?", 16, code=Code.NOT_A_VALUE)

NEWEST = f"{NEWEST_TESTED[0]}.{NEWEST_TESTED[1]}"
"""The Envoy that a scenario is for when it does not say."""

STATES = ("healthy", "degraded", "unhealthy", "draining", "ejected")
"""How an endpoint is: as discovery says (the first four), or left alone by the picker for a while."""


@block()
class AskedRequest(Block):
    """A request of a client."""

    listener: str = setting(_SOME_TEXT, absent=("", "the first listener"), doc="The listener that it comes to.")
    method: str = setting(_METHOD, default="POST", doc="Its method.")
    path: str = setting(_PATH, default="/v1/chat/completions", doc="Its path, with the query string.")
    host: str = setting(_SOME_TEXT, default="localhost", doc="Its `Host` header.")
    headers: Mapping[str, str] = setting(
        MapOf(_HEADER, _ANY_TEXT, 128), default_factory=dict, hash=False, doc="Its other headers."
    )
    model: str = setting(_SOME_TEXT, absent=("", "none"), doc="The model that the body asks for.")
    prompt_tokens: int = setting(
        Integer(1, MAX_TOKENS), default=100, doc="About how long the prompt is that is made up for it."
    )
    max_tokens: int | None = setting(
        Integer(1, MAX_TOKENS), absent=(None, "no bound"), doc="How long the answer may become, as its body says."
    )
    tools: bool = setting(Boolean(), default=False, doc="Whether its body offers the model a tool.")
    stream: bool = setting(Boolean(), default=False, doc="Whether the answer is to be streamed.")
    body: str = setting(
        JsonValue(),
        absent=("", "made from `model`, `promptTokens`, `maxTokens`, `tools` and `stream`"),
        doc="The whole body, as JSON.",
    )
    to_pool: str = setting(
        _SOME_TEXT, absent=("", "only one"), doc="The side of a canary that Envoy's draw falls on, for `pick`."
    )


@block()
class EndpointState(Block):
    """What is known about an endpoint when the request comes."""

    health: str = setting(Choice(STATES), default="healthy", doc="Whether it may be named.")
    running: int = setting(Integer(0, MAX_LOAD), default=0, doc="Requests that its engine runs, as scraped.")
    waiting: int = setting(Integer(0, MAX_LOAD), default=0, doc="Requests that wait in its engine, as scraped.")
    in_flight: int = setting(Integer(0, MAX_LOAD), default=0, doc="Picks of this picker that it is answering.")
    queued_tokens: int = setting(
        Integer(0, MAX_TOKENS), default=0, doc="Tokens of this picker's picks without a first token yet."
    )
    cached_tokens: int = setting(
        Integer(0, MAX_TOKENS), default=0, doc="How much of this request's prompt, from its start, its cache holds."
    )


@block()
class ForEnvoy(Block):
    """The Envoy that the request comes through."""

    version: str = setting(_VERSION, default=NEWEST, doc="Its version.")
    region: str = setting(PLACE, default="", doc="Its region.")
    zone: str = setting(PLACE, default="", doc="Its zone.")
    group: str = setting(_SOME_TEXT, default="default", doc="Its group.")


@block()
class Expected(Block):
    """What must come of it; a key that is not given is not looked at."""

    rule: str | None = setting(_SOME_TEXT, absent=(None, ""), doc="The rule that decides.")
    route: str | None = setting(_SOME_TEXT, absent=(None, ""), doc="The route's name in Envoy, such as `model/llama`.")
    pool: str | None = setting(_SOME_TEXT, absent=(None, ""), doc="The pool that may get it.")
    pools: Mapping[str, int] | None = setting(
        MapOf(_SOME_TEXT, Integer(0, 2**32 - 1), 1000),
        absent=(None, ""),
        hash=False,
        doc="All pools of the route with their weights.",
    )
    status: int | None = setting(
        Integer(100, 599), absent=(None, ""), doc="The answer that Envoy or the picker gives by itself."
    )
    engine_model: str | None = setting(
        _SOME_TEXT, absent=(None, ""), doc="The model that the engine is asked for, once aliases are rewritten."
    )
    picked: bool | None = setting(Boolean(), absent=(None, ""), doc="Whether the picker is asked.")
    pick: str | None = setting(_ADDRESS, absent=(None, ""), doc="The endpoint that the picker names first.")
    not_picked: str | None = setting(_ADDRESS, absent=(None, ""), doc="An endpoint that it must not name at all.")


@block()
class Scenario(Block):
    """One request and what is expected of it."""

    name: str = setting(_SOME_TEXT, doc="What it shows.")
    request: AskedRequest = setting(BlockOf(AskedRequest), doc="The request.")
    envoy: ForEnvoy = setting(BlockOf(ForEnvoy), default=ForEnvoy(), doc="The Envoy that it comes through.")
    fleet: Mapping[str, EndpointState] = setting(
        MapOf(_ADDRESS, BlockOf(EndpointState), MAX_STATES),
        default_factory=dict,
        hash=False,
        doc="Endpoints that are not idle and healthy, by address.",
    )
    expect: Expected = setting(BlockOf(Expected), doc="What must come of it.")


@block()
class Scenarios(Block):
    """A whole file."""

    policy: str = setting(_SOME_TEXT, doc="The policy: a file or a directory, relative to this file.")
    seed: int = setting(Integer(0, 2**32 - 1), default=0, doc="Start of the random numbers that break ties in a pick.")
    scenarios: tuple[Scenario, ...] = setting(
        NamedList("scenarios", BlockOf(Scenario), minimum=1), doc="The scenarios; each starts from a fresh picker."
    )
