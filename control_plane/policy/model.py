"""The policy: what an operator declares, as frozen values. Each field is its YAML key, its check and its documentation.

The words are Istio's (DestinationRule, VirtualService) wherever Istio has a word. Durations are seconds (`_s`), sizes
bytes; the YAML key is the field's name in camelCase without `_s`. Blocks that are a subject of their own are in modules
beside this one (`routing.py`, `traffic.py`, `security.py`, …). A new field is one declaration in its block: the loader,
the JSON Schema and the reference page follow from it. Rules between values are in `checks.py`.
"""

from collections.abc import Mapping

from control_plane.policy.access_log import MAX_ACCESS_LOGS, AccessLog
from control_plane.policy.addresses import ListenAddress
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, NamedList, NamedMap, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.degradation import FALLBACKS, Degradation, Fallback
from control_plane.policy.discovery import (
    Discovered,
    DnsEndpoints,
    EndpointItem,
    EndpointItemKind,
    FileEndpoints,
    SrvEndpoints,
    StaticEndpoint,
)
from control_plane.policy.draining import Draining
from control_plane.policy.endpoint_health import EndpointHealth
from control_plane.policy.faults import Fault
from control_plane.policy.feedback import Feedback
from control_plane.policy.groups import RUNTIME, Group, GroupRef, Safety
from control_plane.policy.health_checks import HealthCheck
from control_plane.policy.identity import AuthorizationPolicy, JwtRule
from control_plane.policy.kv_events import KvEvents
from control_plane.policy.limits import ConnectionPool, HttpSettings, TcpSettings
from control_plane.policy.load_balancing import Failover, LoadBalancer, LocalityLbSetting
from control_plane.policy.names import (
    HEADER_NAME,
    LISTENER_NAME,
    MODEL_NAME,
    POOL_NAME,
)
from control_plane.policy.notifications import Notifications
from control_plane.policy.outliers import OutlierDetection
from control_plane.policy.patches import EnvoyPatch
from control_plane.policy.rate_limits import MAX_RATE_LIMITS, RateLimit
from control_plane.policy.routing import (
    ROUTE_KIND,
    BlueGreen,
    Forwarding,
    Rewrite,
    RouteTarget,
    Rule,
    VirtualHost,
    pool_shorthand,
    targets_of,
)
from control_plane.policy.scalars import AliasFor, Choice, NameOf
from control_plane.policy.scraping import Scrape
from control_plane.policy.security import ControlPlane, ListenerTls
from control_plane.policy.strategies import STRATEGIES, PoolPicker
from control_plane.policy.tokenizers import PrefixIndex, Tokenizer
from control_plane.policy.traffic import Retries, Timeouts, TrafficPolicy
from control_plane.policy.units import ByteSize, Duration
from ext_proc.core.address import SocketAddress

__all__ = [
    "ENGINES",
    "FORMAT",
    "STRATEGIES",
    "ConnectionPool",
    "Discovered",
    "DnsEndpoints",
    "EndpointItem",
    "Failover",
    "FileEndpoints",
    "Forwarding",
    "HealthCheck",
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
    "Rule",
    "SrvEndpoints",
    "StaticEndpoint",
    "TcpSettings",
    "Timeouts",
    "TrafficPolicy",
    "VirtualHost",
]

FORMAT = "v1"
"""The only format of a policy file."""

ENGINES = ("vllm", "sglang", "trtllm", "triton", "llamacpp", "tgi", "lmdeploy", "dynamo", "custom")
"""Inference servers, by the dialect of their metrics."""


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
    explain: str = setting(
        Choice(("asked", "always", "never")),
        default="asked",
        doc="Whether answers tell which decision led to them. `asked`: `x-kvpilot-decision` has its id, for `kvpilot "
        "explain`, where the request says `x-kvpilot-explain: 1`. `always`: the id, and in `x-kvpilot-pod` the address "
        "of the pod, of every answer. `never`: nothing, for listeners that strangers use.",
    )
    model_from: str = setting(
        Choice(("envoy",), planned={"picker": "the picker reads the model of very long prompts"}),
        default="envoy",
        doc="Who reads the model from the body and so chooses the route.",
    )


@block()
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
    task_header: str = setting(
        HEADER_NAME,
        default="x-task-type",
        doc="Request header that `taskType` of a rule looks at, but for known words.",
    )
    tier_header: str = setting(
        HEADER_NAME, default="x-user-tier", doc="Request header that `userTier` of a rule looks at."
    )
    region_header: str = setting(
        HEADER_NAME, default="x-region", doc="Request header that `region` of a rule looks at."
    )
    default_pool: str = setting(
        NameOf("pools"),
        absent=("", "the first pool"),
        doc="Pool for every path that is not an inference call of a model, such as `GET /v1/models`; never picked.",
    )
    picker: ListenerPicker = setting(BlockOf(ListenerPicker), default=ListenerPicker(), doc="How the picker is asked.")
    virtual_hosts: tuple[VirtualHost, ...] = setting(
        ListOf(BlockOf(VirtualHost)),
        default=(),
        doc="Host names with models and rules of their own; none given: every host name has all of them.",
    )
    tls: ListenerTls | None = setting(
        OrWord(BlockOf(ListenerTls), "off", "plain HTTP"), default=None, doc="TLS towards clients."
    )
    jwt: tuple[JwtRule, ...] = setting(
        ListOf(BlockOf(JwtRule)), default=(), doc="Whose tokens clients may or must send."
    )
    authorization: tuple[AuthorizationPolicy, ...] = setting(
        ListOf(BlockOf(AuthorizationPolicy)), default=(), doc="Who may do what: first each `DENY`, then each `ALLOW`."
    )
    rate_limit: tuple[RateLimit, ...] = setting(
        ListOf(BlockOf(RateLimit), maximum=MAX_RATE_LIMITS),
        default=(),
        doc="How many requests each Envoy lets through here, beside the limits of models and rules.",
    )
    fault: Fault | None = setting(
        BlockOf(Fault),
        default=None,
        absent=(None, "none"),
        doc="Delays and errors on purpose, for requests whose model and rule have no `fault` of their own.",
    )
    access_log: tuple[AccessLog, ...] = setting(
        ListOf(BlockOf(AccessLog), maximum=MAX_ACCESS_LOGS),
        default=(),
        doc="Where Envoy writes a JSON line for each request.",
    )
    groups: tuple[str, ...] = setting(
        ListOf(GroupRef()), default=(), doc="The groups of Envoys that have it, `default` is one; none given: all."
    )


@block(one_of=("pool", "route", "blueGreen"))
class Model(Forwarding):
    """A model that clients may ask for, and where its requests go."""

    name: str = setting(MODEL_NAME, doc="The model's name, as the engines know it.")
    aliases: tuple[str, ...] = setting(
        ListOf(AliasFor("models", MODEL_NAME)),
        default=(),
        doc="Other names for it. The picker writes the model's name into the request instead, and while it does not "
        "answer, Envoy does (bodies up to 4 MiB; an Envoy without Lua sends the alias on).",
    )
    route: tuple[RouteTarget, ...] = setting(
        ROUTE_KIND,
        default=(),
        absent=((), "none"),
        doc="The pools that serve the model, by weight: a canary. Exactly one of `pool`, `route` and `blueGreen`.",
        shorthand=pool_shorthand("The one pool that serves the model."),
    )
    blue_green: BlueGreen | None = setting(
        BlockOf(BlueGreen), default=None, absent=(None, "none"), doc="Two pools of which one serves."
    )
    rewrite: Rewrite | None = setting(
        BlockOf(Rewrite), default=None, absent=(None, "`name`"), doc="What the engine is asked for."
    )
    tokenizer: Tokenizer | None = setting(
        BlockOf(Tokenizer),
        default=None,
        absent=(None, "prompts go by their text, their length is estimated"),
        doc="Where the tokens of its prompts come from.",
    )
    fallback: tuple[Fallback, ...] = setting(
        FALLBACKS,
        default=(),
        absent=((), "none"),
        doc="Other models, or other pools, that answer when its own pool cannot, in order; answers say so "
        "(`x-kvpilot-degraded`). Only while the picker answers.",
    )
    degradation: Degradation | None = setting(
        BlockOf(Degradation),
        default=None,
        absent=(None, "the defaults of the block where there is a `fallback`, else none"),
        doc="When that is, and what comes after.",
    )

    @property
    def degrades(self) -> bool:
        """Whether its requests may be answered otherwise than they were asked."""
        return bool(self.fallback) or self.degradation is not None

    @property
    def targets(self) -> tuple[RouteTarget, ...]:
        """The pools by weight."""
        return targets_of(self.route, self.blue_green)


@block()
class Pool(Block):
    """Inference servers that are interchangeable: any of them can serve any request for the pool."""

    name: str = setting(POOL_NAME, is_key=True, doc="The pool's name.")
    engine: str = setting(
        Choice(ENGINES), default="vllm", doc="Which server the endpoints run: it decides how their metrics are read."
    )
    endpoints: tuple[EndpointItem, ...] = setting(
        ListOf(EndpointItemKind(), minimum=1),
        doc="The inference servers, each address once, and where to ask for more of them. An address that several "
        "items give counts once, as the first of them says.",
    )
    picker: PoolPicker = setting(
        BlockOf(PoolPicker), default=PoolPicker(), doc="How the picker chooses within the pool."
    )
    scrape: Scrape | None = setting(
        OrWord(BlockOf(Scrape), "off", "engines are not asked"),
        default=Scrape(),
        doc="How the picker reads the engines' own numbers.",
    )
    kv_events: KvEvents | None = setting(
        BlockOf(KvEvents),
        default=None,
        absent=(None, "engines are not listened to"),
        doc="Where the engines tell what their prefix caches hold.",
    )
    prefix_index: PrefixIndex = setting(
        BlockOf(PrefixIndex), default=PrefixIndex(), doc="How it is known what the prefix caches hold."
    )
    health_check: HealthCheck | None = setting(
        OrWord(BlockOf(HealthCheck), "off", "no checks"),
        default=None,
        doc="How Envoy checks the endpoints by itself, for the path without a pick.",
    )
    traffic_policy: TrafficPolicy = setting(
        BlockOf(TrafficPolicy), default=TrafficPolicy(), doc="What protects the pool."
    )
    retries: Retries = setting(BlockOf(Retries), default=Retries(), doc="When a request is tried again.")
    timeouts: Timeouts = setting(BlockOf(Timeouts), default=Timeouts(), doc="How long a request may take.")
    drain: Draining = setting(BlockOf(Draining), default=Draining(), doc="How its endpoints are drained.")
    health: EndpointHealth = setting(
        BlockOf(EndpointHealth), default=EndpointHealth(), doc="What counts against an endpoint."
    )

    @property
    def drain_timeout_s(self) -> float:
        """How long a drain waits: as a rule for as long as a request may take, when nothing can run any more."""
        return self.timeouts.request_s if self.drain.timeout_s is None else self.drain.timeout_s

    @property
    def static_endpoints(self) -> tuple[StaticEndpoint, ...]:
        """The endpoints that the policy itself names."""
        return tuple(item for item in self.endpoints if isinstance(item, StaticEndpoint))

    @property
    def discovered(self) -> tuple[Discovered, ...]:
        """The sources of further endpoints, which only a running kvpilot asks."""
        return tuple(item for item in self.endpoints if not isinstance(item, StaticEndpoint))


@block()
class Policy(Block):
    """The whole file."""

    format: str = setting(
        Choice((FORMAT,), code=Code.FORMAT_VERSION),
        key="kvpilot",
        default=FORMAT,
        required=True,
        doc="The format of the file: `v1`.",
    )
    control_plane: ControlPlane = setting(
        BlockOf(ControlPlane), default=ControlPlane(), doc="The ports of kvpilot itself."
    )
    listeners: tuple[Listener, ...] = setting(
        NamedList("listeners", BlockOf(Listener), minimum=1), doc="Where Envoy takes requests."
    )
    models: tuple[Model, ...] = setting(
        NamedList("models", BlockOf(Model), minimum=1), doc="The models that clients may ask for; all others are 404."
    )
    rules: tuple[Rule, ...] = setting(
        NamedList("rules", BlockOf(Rule)),
        default=(),
        doc="Routes by content; the first that matches comes before models.",
    )
    pools: tuple[Pool, ...] = setting(
        NamedMap("pools", POOL_NAME, BlockOf(Pool), minimum=1), doc="The inference servers, in pools by name."
    )

    groups: tuple[Group, ...] = setting(
        NamedList("groups", BlockOf(Group)), default=(), doc="Which Envoys are what; the first that fits has the Envoy."
    )
    safety: Safety = setting(BlockOf(Safety), default=Safety(), doc="How much a change may break before it is stopped.")
    runtime: Mapping[str, bool | float | str] = setting(
        RUNTIME,
        default_factory=dict,
        hash=False,
        doc="Values for Envoy's runtime, such as `envoy.reloadable_features.…` flags; they take effect without a "
        "restart.",
    )

    feedback: Feedback = setting(BlockOf(Feedback), default=Feedback(), doc="What Envoy reads from answers.")
    notifications: Notifications = setting(
        BlockOf(Notifications), default=Notifications(), doc="Who is told when something goes wrong."
    )
    envoy_patch: tuple[EnvoyPatch, ...] = setting(
        NamedList("envoyPatch", BlockOf(EnvoyPatch)),
        default=(),
        doc="Changes of Envoy's resources, in this order, after everything else: for what the policy has no word for.",
    )

    @property
    def owners(self) -> tuple[Forwarding, ...]:
        """Whatever has routes of its own: the models, then the rules."""
        return (*self.models, *self.rules)

    def pool(self, name: str) -> Pool:
        """The pool of that name; raises KeyError."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)

    def models_of(self, pool: str) -> tuple[Model, ...]:
        """The models whose requests may go to a pool; a rule without a word on models may send it any.

        So may a `fallback` that names the pool: one that names a model leads to the pools that serve it anyway.
        """
        named: set[str] = set()
        for rule in self.rules:
            pools = {target.pool for target in rule.targets} | {each.pool for each in rule.fallback or ()}
            if pool in pools:
                every = not rule.match or any(not match.models for match in rule.match)
                said = {name for match in rule.match for name in match.models}
                named |= {model.name for model in self.models if every or said & {model.name, *model.aliases}}
        return tuple(
            model
            for model in self.models
            if model.name in named
            or any(target.pool == pool for target in model.targets)
            or any(each.pool == pool for each in model.fallback)
        )

    def names_of(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """What bodies may say for one of `models`: a model's name stands for its aliases, an alias for itself."""
        aliases = {model.name: model.aliases for model in self.models}
        return tuple(dict.fromkeys(text for name in models for text in (name, *aliases.get(name, ()))))

    def model(self, name_or_alias: str) -> Model | None:
        """The model of that name or alias, None where there is none."""
        for model in self.models:
            if name_or_alias == model.name or name_or_alias in model.aliases:
                return model
        return None
