"""The policy: what an operator declares, as frozen values. Each field is its YAML key, its check and its documentation.

The words are Istio's (DestinationRule, VirtualService) wherever Istio has a word. Durations are seconds (`_s`), sizes
bytes; the YAML key is the field's name in camelCase without `_s`. A new field is one declaration here (or, for what
protects a pool, in `traffic.py`): the loader, the JSON Schema and the reference page follow from it. Rules between
values are in `checks.py`.
"""

from collections.abc import Mapping

from control_plane.policy.addresses import EndpointAddress, ListenAddress
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf, NamedList, NamedMap
from control_plane.policy.declare import Block, Shorthand, block, setting
from control_plane.policy.names import (
    HEADER_NAME,
    LABEL_KEY,
    LABEL_VALUE,
    LISTENER_NAME,
    MAX_LABELS,
    MODEL_NAME,
    PLACE,
    POOL_NAME,
)
from control_plane.policy.scalars import MAX_UINT32, AliasFor, Choice, Integer, NameOf
from control_plane.policy.traffic import (
    ConnectionPool,
    Failover,
    HttpSettings,
    LoadBalancer,
    LocalityLbSetting,
    OutlierDetection,
    Retries,
    TcpSettings,
    Timeouts,
    TrafficPolicy,
)
from control_plane.policy.units import ByteSize, Duration
from ext_proc.core.address import SocketAddress

__all__ = [
    "ENGINES",
    "FORMAT",
    "STRATEGIES",
    "ConnectionPool",
    "Failover",
    "HttpSettings",
    "Listener",
    "ListenerPicker",
    "LoadBalancer",
    "LocalityLbSetting",
    "Model",
    "OutlierDetection",
    "Policy",
    "Pool",
    "PoolPicker",
    "Retries",
    "RouteTarget",
    "StaticEndpoint",
    "TcpSettings",
    "Timeouts",
    "TrafficPolicy",
]

FORMAT = "v1"
"""The only format of a policy file."""

ENGINES = ("vllm", "sglang", "trtllm", "triton", "llamacpp", "tgi", "lmdeploy", "dynamo", "custom")
"""Inference servers, by the dialect of their metrics."""

STRATEGIES = ("kv-aware", "round-robin", "least-request", "queue-depth")
"""How the picker chooses within a pool."""


@block()
class ListenerPicker(Block):
    """How Envoy asks the picker."""

    mode: str = setting(
        Choice(("one-message", "two-message")),
        default="one-message",
        doc="`one-message`: the body with its attributes, held back by Envoy's buffer filter. `two-message`: headers, "
        "then the body, the shape that Envoy documents; it costs one more message each way.",
    )
    message_timeout_s: float = setting(
        Duration("1ms", "10s"),
        default=0.25,
        doc="How long a request waits for the picker before it goes on without a pick.",
    )
    model_from: str = setting(
        Choice(("envoy",), planned={"picker": "the picker reads the model of very long prompts"}),
        default="envoy",
        doc="Who reads the model from the body and so chooses the route.",
    )


@block(planned={"tls": "TLS towards clients"})
class Listener(Block):
    """An address at which Envoy takes requests."""

    name: str = setting(LISTENER_NAME, doc="Its name; also that of its Envoy resources.")
    address: SocketAddress = setting(ListenAddress(), doc="Where Envoy listens.")
    max_request_bytes: int = setting(
        ByteSize("1KiB", "1GiB"),
        default=16 * 1024 * 1024,
        doc="Largest request body; a larger one is answered 413. Bodies are in memory while the picker reads them.",
    )
    session_header: str = setting(
        HEADER_NAME,
        default="x-session-id",
        doc="Request header that names a session: requests of one session stay on one side of a canary.",
    )
    default_pool: str = setting(
        NameOf("pools"),
        absent=("", "the first pool"),
        doc="Pool for every path that is not an inference call of a model, such as `GET /v1/models`; never picked.",
    )
    picker: ListenerPicker = setting(BlockOf(ListenerPicker), default=ListenerPicker(), doc="How the picker is asked.")


@block()
class RouteTarget(Block):
    """A pool's share of a model's requests."""

    pool: str = setting(NameOf("pools"), doc="The pool.")
    weight: int = setting(
        Integer(0, MAX_UINT32),
        default=1,
        doc="Its share relative to the other weights of the route; 0 sends it nothing. All together: 1..4294967295.",
    )


def _to_one_pool(pool: str) -> tuple[RouteTarget, ...]:
    return (RouteTarget(pool=pool),)


@block(
    planned={
        "mirror": "copies of requests to another pool",
        "mirrorPercentage": "copies of requests to another pool",
        "fallback": "degradation to another model",
        "fault": "injected faults",
        "timeout": "a timeout per model; `timeouts` of the pool is there",
        "retries": "retries per model; `retries` of the pool is there",
    }
)
class Model(Block):
    """A model that clients may ask for, and where its requests go."""

    name: str = setting(MODEL_NAME, doc="The model's name, as the engines know it.")
    aliases: tuple[str, ...] = setting(
        ListOf(AliasFor("models", MODEL_NAME)),
        default=(),
        doc="Other names for it. The picker writes the model's name into the request instead; while it does not "
        "answer, the engine gets the alias, so let engines know their aliases, too (vLLM: `--served-model-name`).",
    )
    route: tuple[RouteTarget, ...] = setting(
        ListOf(BlockOf(RouteTarget), minimum=1),
        doc="The pools that serve the model, by weight: a canary. Exactly one of `pool` and `route`.",
        shorthand=Shorthand(
            "pool", NameOf("pools"), _to_one_pool, ("[0]", "[0].pool"), "The one pool that serves the model."
        ),
    )


@block(planned={"dns": "endpoints by host name"}, stand_ins={"address": ("dns",)})
class StaticEndpoint(Block):
    """One inference server."""

    address: str = setting(EndpointAddress(), doc="Where it is; host names are not resolved.")
    region: str = setting(PLACE, default="", doc="Its region, for locality and failover.")
    zone: str = setting(PLACE, default="", doc="Its zone, for locality and failover.")
    weight: int = setting(
        Integer(1, MAX_UINT32),
        default=100,
        doc="Its share relative to the other endpoints of the pool; half of it for half the speed.",
    )
    labels: Mapping[str, str] = setting(
        MapOf(LABEL_KEY, LABEL_VALUE, MAX_LABELS),
        default_factory=dict,
        hash=False,
        doc="Free labels such as `gpu: h100`; values are texts.",
    )


@block()
class PoolPicker(Block):
    """How the picker chooses within the pool."""

    strategy: str = setting(
        Choice(
            STRATEGIES,
            planned={
                "weighted-round-robin": "smooth round robin by weight",
                "weighted": "by latency and error rate",
                "gpu-memory": "most free KV memory",
                "session": "a session stays on its pod",
                "primary-standby": "the first that is healthy",
            },
        ),
        default="kv-aware",
        doc="`kv-aware`: the pod whose cache holds the longest part of the prompt, unless its queue makes another one "
        "quicker. `round-robin`: each in turn. `least-request`: fewest requests in flight. `queue-depth`: the shortest "
        "queue.",
    )


@block()
class Pool(Block):
    """Inference servers that are interchangeable: any of them can serve any request for the pool."""

    name: str = setting(POOL_NAME, is_key=True, doc="The pool's name.")
    engine: str = setting(
        Choice(ENGINES), default="vllm", doc="Which server the endpoints run: it decides how their metrics are read."
    )
    endpoints: tuple[StaticEndpoint, ...] = setting(
        ListOf(BlockOf(StaticEndpoint), minimum=1), doc="The inference servers, each address once."
    )
    picker: PoolPicker = setting(
        BlockOf(PoolPicker), default=PoolPicker(), doc="How the picker chooses within the pool."
    )
    traffic_policy: TrafficPolicy = setting(
        BlockOf(TrafficPolicy), default=TrafficPolicy(), doc="What protects the pool."
    )
    retries: Retries = setting(BlockOf(Retries), default=Retries(), doc="When a request is tried again.")
    timeouts: Timeouts = setting(BlockOf(Timeouts), default=Timeouts(), doc="How long a request may take.")


@block(planned={"rules": "routes by headers, paths or content, before the models"})
class Policy(Block):
    """The whole file."""

    format: str = setting(
        Choice((FORMAT,), code=Code.FORMAT_VERSION),
        key="kvpilot",
        default=FORMAT,
        required=True,
        doc="The format of the file: `v1`.",
    )
    listeners: tuple[Listener, ...] = setting(
        NamedList("listeners", BlockOf(Listener), minimum=1), doc="Where Envoy takes requests."
    )
    models: tuple[Model, ...] = setting(
        NamedList("models", BlockOf(Model), minimum=1), doc="The models that clients may ask for; all others are 404."
    )
    pools: tuple[Pool, ...] = setting(
        NamedMap("pools", POOL_NAME, BlockOf(Pool), minimum=1), doc="The inference servers, in pools by name."
    )

    def pool(self, name: str) -> Pool:
        """The pool of that name; raises KeyError."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)

    def model(self, name_or_alias: str) -> Model | None:
        """The model of that name or alias, None where there is none."""
        for model in self.models:
            if name_or_alias == model.name or name_or_alias in model.aliases:
                return model
        return None
