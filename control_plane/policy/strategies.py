"""How the picker chooses: the names of strategies, and the parameters of those that have some.

What each one does is in docs/strategies.md. A strategy of the user's own has a name with a dot, such as
`acme.cheapest`, so that no later one of ours can take it; which ones are installed only the shell knows, and it says so
to the loader.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.policy.admission import Admission
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.json_value import JsonValue
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError, scalar_text
from control_plane.policy.load_balancing import COOKIE_NAME, MIN_BALANCE_FACTOR
from control_plane.policy.names import HEADER_NAME, LABEL_KEY, LABEL_VALUE, MAX_LABELS, MAX_NAME, PLACE
from control_plane.policy.nodes import Mapping as MappingNode
from control_plane.policy.nodes import Node
from control_plane.policy.reader import Reader
from control_plane.policy.request_kinds import KINDS
from control_plane.policy.scalars import Boolean, Choice, Integer, Percent, Text
from control_plane.policy.units import Duration

STRATEGIES = (
    "kv-aware",
    "round-robin",
    "weighted-round-robin",
    "least-request",
    "weighted",
    "queue-depth",
    "gpu-memory",
    "session",
    "primary-standby",
    "random",
)
"""Those that kvpilot has. `ext_proc.core.strategies.table` knows the same; importing it would take numpy along."""

MAX_FILTERS = 32
"""Filters of one pool: each costs some microseconds on every pick."""

MAX_TOKENS = 100_000_000
"""Tokens of a prompt: a body of 1 GiB has more, and no engine takes it."""

MAX_DEPTH = 100_000
"""Requests waiting at one endpoint; engines refuse long before."""

MAX_CHARGE = "1h"
"""Of a charge: longer than any pick can differ from another, so that it is as good as a rule."""

_OWN_NAME = Text(
    "the name of a strategy of one's own (lower-case letters, digits, `-`, with a `.` in it)",
    r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+",
    MAX_NAME,
)


def known_strategies(reader: Reader) -> tuple[str, ...]:
    """All names that a pool may have: ours, then those that are installed."""
    return (*STRATEGIES, *reader.own_strategies.names())


@dataclass(frozen=True, slots=True)
class StrategyName(ScalarKind[str]):
    """The name of a strategy, ours or one that is installed."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "the name of a strategy"

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The name; one that cannot exist is an error that lists those that do."""
        text = scalar_text(reader, node, self.noun)
        try:
            return self.parse(text)
        except ValueRefusedError as refused:
            known = known_strategies(reader)
            similar = reader.did_you_mean(text, known)
            listed = f"there are {', '.join(known)}"
            hint = f"{similar} {listed}" if similar.endswith("?") else listed
            raise reader.refuse(node, refused.code, refused.message, hint) from None

    def parse(self, text: str) -> str:
        """The name itself, whether an own one is installed or not; raises ValueRefusedError for one that is none."""
        if text in STRATEGIES:
            return text
        try:
            return _OWN_NAME.parse(text)
        except ValueRefusedError:
            raise ValueRefusedError(f"there is no strategy {quoted(text)}", code=Code.UNKNOWN_WORD) from None

    def schema(self) -> Json:
        """One of ours, or a name with a dot."""
        return {"anyOf": [{"enum": list(STRATEGIES)}, _OWN_NAME.schema()]}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return ", ".join(f"`{name}`" for name in STRATEGIES) + " or one of your own"


@dataclass(frozen=True, slots=True)
class JsonMapping(JsonValue):
    """A mapping of any content, held as JSON text."""

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The mapping as compact JSON."""
        if not isinstance(node, MappingNode):
            raise reader.refuse(node, Code.WRONG_SHAPE, "expected a mapping")
        return JsonValue.read(self, reader, node, path)

    def schema(self) -> Json:
        """Any object."""
        return {"type": "object"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "mapping of any content"


@block()
class WeightedStrategy(Block):
    """`weighted`: (share of the latency limit that is left + share of the error limit that is left) ÷ 2."""

    latency_limit_s: float = setting(
        Duration("1ms", "1h"), default=5.0, doc="Mean time to the first token at which that half of the score is 0."
    )
    error_limit: int = setting(Percent(), default=10, doc="Rate of errors at which the other half of the score is 0.")


@block()
class QueueDepthStrategy(Block):
    """`queue-depth`: depth × average latency, the least first."""

    maximum_depth: int = setting(
        Integer(1, MAX_DEPTH),
        default=20,
        doc="Requests waiting at an endpoint from which on it is only named while all have that many.",
    )


@block()
class GpuMemoryStrategy(Block):
    """`gpu-memory`: the most free KV memory first."""

    maximum_usage: int = setting(
        Percent(), default=95, doc="Usage from which on an endpoint is only named while all have that much."
    )


@block()
class SessionStrategy(Block):
    """`session`: the same key goes to the same endpoint, within a bound of load.

    At most one of `httpHeaderName`, `httpCookieName` and `useUser` says what the key is.
    """

    http_header_name: str = setting(
        HEADER_NAME,
        default="",
        absent=("", "the listener's `sessionHeader`, else `user` of the body"),
        doc="The key is this request header.",
    )
    http_cookie_name: str = setting(
        COOKIE_NAME, default="", absent=("", ""), doc="The key is this cookie, which the application sets."
    )
    use_user: bool = setting(
        Boolean(), default=False, doc="Whether the key is the body's `user` (Anthropic: `metadata.user_id`)."
    )
    hash_balance_factor: int = setting(
        Integer(MIN_BALANCE_FACTOR, 10_000, "percent"),
        default=125,
        doc="An endpoint with more than this percentage of its share of the load is passed over.",
    )


@block()
class KvAwareStrategy(Block):
    """`kv-aware`: what it charges an endpoint beside the work for a prompt.

    Each is an amount of time: an endpoint is passed over where another one is cheaper by more than that.
    """

    other_zone_cost_s: float = setting(
        Duration("0s", MAX_CHARGE),
        default=0.001,
        doc="For an endpoint in another zone than Envoy's (`--zone`): about a round trip, more where traffic between "
        "zones is paid for.",
    )
    other_region_cost_s: float = setting(
        Duration("0s", MAX_CHARGE), default=0.05, doc="For an endpoint in another region than Envoy's (`--region`)."
    )
    failure_cost_s: float = setting(
        Duration("0s", MAX_CHARGE),
        default=10.0,
        doc="What a failed try costs: it counts by the share of an endpoint's latest tries that failed, as far as that "
        "is more than usual and no chance. 0s: failures count only once the endpoint is ejected for them.",
    )
    adapter_load_s: float = setting(
        Duration("0s", MAX_CHARGE),
        default=0.3,
        doc="How long an engine takes to load a LoRA adapter, counted where the one that is asked for is not loaded; "
        "where all places for adapters are taken, half of a usual answer as well. Rather too much than too little.",
    )
    session_bound_s: float = setting(
        Duration("0s", MAX_CHARGE),
        default=0.0,
        absent=(0.0, "sessions go where their prefix is cached, and nothing else holds them"),
        doc="How much cheaper another endpoint has to be than the session's own, which all picker instances know "
        "without telling each other. For several of them that do not share what they see: 500ms. The key is that of "
        "`session`.",
    )


@block()
class Batch(Block):
    """Requests that are marked as one batch, and so come first for one endpoint.

    Which one follows from the mark and the endpoints there are: pickers agree on it, and remember nothing.
    """

    http_header_name: str = setting(
        HEADER_NAME, default="x-batch-id", doc="Requests with the same value of this request header are one batch."
    )
    max_in_flight: int = setting(
        Integer(1, MAX_DEPTH),
        default=32,
        doc="An endpoint with so many requests of this picker is passed over, unless that is its share of them all and "
        "a quarter more: the batch goes on to its next one.",
    )


@block()
class PickerFilter(Block):
    """Some requests, and the endpoints that come first for them.

    Where none of those may be named, all others are, as if there were no such filter.
    """

    kinds: tuple[str, ...] = setting(
        ListOf(Choice(KINDS)), default=(), absent=((), "all"), doc="Kinds of requests that it is about."
    )
    min_prompt_tokens: int = setting(
        Integer(0, MAX_TOKENS), default=0, doc="Only prompts of about so many tokens, or longer ones."
    )
    max_prompt_tokens: int | None = setting(
        Integer(0, MAX_TOKENS),
        default=None,
        absent=(None, "no bound"),
        doc="Only prompts of about so many tokens, or shorter ones.",
    )
    labels: Mapping[str, str] = setting(
        MapOf(LABEL_KEY, LABEL_VALUE, MAX_LABELS),
        default_factory=dict,
        hash=False,
        doc="Endpoints with all of these labels come first.",
    )
    zone: str = setting(PLACE, default="", absent=("", "any"), doc="Endpoints of this zone come first.")
    adapter_loaded: bool = setting(
        Boolean(),
        default=False,
        doc="Whether endpoints come first whose engine says that it has the model loaded as a LoRA adapter.",
    )
    model_loaded: bool = setting(
        Boolean(),
        default=False,
        doc="Whether endpoints come last whose engine lists other models and adapters than the wanted one, by "
        "`/v1/models` or in a load report. Who lists nothing may have it.",
    )
    batch: Batch | None = setting(
        BlockOf(Batch), default=None, absent=(None, "none"), doc="Requests of one batch go together."
    )

    @property
    def puts_anybody_first(self) -> bool:
        """Whether it makes a difference."""
        return bool(self.labels or self.zone or self.adapter_loaded or self.model_loaded or self.batch)


@block()
class PoolPicker(Block):
    """How the picker chooses within the pool."""

    strategy: str = setting(
        StrategyName(),
        default="kv-aware",
        doc="`kv-aware`: the pod whose cache holds the longest part of the prompt, unless its queue makes another one "
        "quicker. `round-robin`: each in turn. `weighted-round-robin`: each in turn, as often as its weight says. "
        "`least-request`: fewest requests in flight. `weighted`: quick pods without errors more often. `queue-depth`: "
        "the shortest queue. `gpu-memory`: the most free KV memory. `session`: a session stays on its pod. "
        "`primary-standby`: the first of the list that is healthy. `random`: any. All are in docs/strategies.md.",
    )
    shadow: str = setting(
        StrategyName(),
        default="",
        absent=("", "none"),
        doc="A second strategy that decides beside it without effect: `kvpilot status` and the metrics say how often "
        "the two agree, and what it would cost to follow it. `parameters` are for it, too.",
    )
    filters: tuple[PickerFilter, ...] = setting(
        ListOf(BlockOf(PickerFilter), maximum=MAX_FILTERS),
        default=(),
        doc="Which endpoints come first for which requests, before the strategy decides; one filter after the other.",
    )
    kv_aware: KvAwareStrategy = setting(
        BlockOf(KvAwareStrategy), default=KvAwareStrategy(), doc="What `kv-aware` charges beside work."
    )
    weighted: WeightedStrategy = setting(
        BlockOf(WeightedStrategy), default=WeightedStrategy(), doc="Limits of `weighted`."
    )
    queue_depth: QueueDepthStrategy = setting(
        BlockOf(QueueDepthStrategy), default=QueueDepthStrategy(), doc="The bound of `queue-depth`."
    )
    gpu_memory: GpuMemoryStrategy = setting(
        BlockOf(GpuMemoryStrategy), default=GpuMemoryStrategy(), doc="The bound of `gpu-memory`."
    )
    session: SessionStrategy = setting(
        BlockOf(SessionStrategy), default=SessionStrategy(), doc="Key and bound of `session`."
    )
    check_predictions: bool = setting(
        Boolean(),
        default=True,
        doc="Whether the picker trusts its predictions of what is cached less where engines do not find it. How right "
        "they are is told either way.",
    )
    parameters: str = setting(
        JsonMapping(), default="", absent=("", "none"), doc="What a strategy of your own is made with."
    )
    admission: Admission | None = setting(
        BlockOf(Admission),
        default=None,
        absent=(None, "no limits: every request is sent on at once, and waits at its engine"),
        doc="When endpoints are full, and who waits for a place.",
    )

    @property
    def strategies(self) -> tuple[str, ...]:
        """The one that decides and, where there is one, its shadow."""
        return (self.strategy, self.shadow) if self.shadow else (self.strategy,)

    @property
    def asks_for_sessions(self) -> bool:
        """Whether the key of `session` matters."""
        return "session" in self.strategies or ("kv-aware" in self.strategies and self.kv_aware.session_bound_s > 0)

    @property
    def own_parameters(self) -> Mapping[str, Any]:
        """`parameters` in JSON's types."""
        found: Mapping[str, Any] = json.loads(self.parameters) if self.parameters else {}
        return found
