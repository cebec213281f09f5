"""What the picker is told about pools, endpoints and models; the control plane fills these values from its policy.

Values only. An `address` is `ip:port` or `[v6]:port`, in exactly the text that Envoy prints.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ext_proc.core.strategies.table import Maker

# Envoy's own default (`ClusterLoadAssignment` weights are relative, so any common number would do).
DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """One pod. `available` is False while it is known to be unhealthy or draining: such a pod is never named. `state`
    says which in a word, for the status.

    `priority` is its level, 0 for the nearest, as in Envoy's `ClusterLoadAssignment`; gaps are allowed. A level is used
    while nobody in a nearer one may be named (`ext_proc.core.levels`). `far_ms` is what its distance costs a request.
    """

    address: str
    region: str = ""
    zone: str = ""
    weight: int = DEFAULT_WEIGHT
    engine: str = "vllm"
    labels: Mapping[str, str] = field(default_factory=dict)
    available: bool = True
    state: str = ""
    priority: int = 0
    far_ms: float = 0.0

    @property
    def place(self) -> str:
        """`region/zone`, or what is known of it."""
        return "/".join(part for part in (self.region, self.zone) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeSettings:
    """How the engines of a pool are asked for their numbers; the defaults are what their kind usually wants.

    `path` is where they are instead, `port` another port than that of requests, `interval_s` the time between two looks
    under load. `metrics` are the names of numbers (`ext_proc.signals.engines.custom`), for a custom engine.
    """

    is_on: bool = True
    path: str = ""
    port: int | None = None
    interval_s: float | None = None
    metrics: Mapping[str, str] = field(default_factory=dict, hash=False)


# Data-parallel ranks behind one address; the largest deployments of one model have fewer.
MAX_KV_RANKS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KvEventSettings:
    """Where the engines of a pool tell what they have cached.

    `port` and `replay_port` are the same for all endpoints; an offset in their place is added to the endpoint's own
    port. Without either, events are at the usual port of vLLM, and there is no replay. `ranks` are data-parallel ones.
    With `bind` (`ip:port`) the engines connect to us; only topics that begin with `topic` are heard. `is_exact`: the
    pool's prompts are hashed by their token ids, so that single blocks mean something to the picker; those of its base
    model under no name.
    """

    port: int | None = None
    port_offset: int | None = None
    replay_port: int | None = None
    replay_port_offset: int | None = None
    ranks: int = 1
    topic: str = ""
    bind: str = ""
    is_exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Requests with the same value of a `header` (in lower case) go together, while their endpoint has no more than
    `max_in_flight` requests."""

    header: str = "x-batch-id"
    max_in_flight: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """Requests of some `kinds` (none: of all) and lengths, and whom they are for.

    That is endpoints with all of the `labels`, in the `zone` where one is named; with `adapter`, those that have the
    request's model loaded as an adapter; with `model`, that have it loaded at all, as far as that is known; with
    `batch`, the one endpoint of the request's batch.
    """

    kinds: frozenset[str] = frozenset()
    minimum_tokens: int = 0
    maximum_tokens: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    adapter: bool = False
    model: bool = False
    batch: BatchSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrioritySettings:
    """One priority of requests that wait. Requests for `models` (canonical names) and of `kinds` have it unless a route
    or a header says otherwise; after `max_wait_s` a request is refused, at once where that is 0."""

    name: str
    models: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    max_wait_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """When a pool is full (`ext_proc.core.places`), and who waits for a place (`ext_proc.core.admission`).

    A pool is full at the first of its limits, which are those of the mean endpoint: requests in flight, prompt tokens
    without a first token, KV usage (0 to 1); None does not limit. One endpoint takes up to `headroom` (a share) more.
    `priorities` begin with the highest; `usual_priority` is the position of the one that requests have by default.
    Headers are named in lower case, and looked at where they have a name. `route_priorities` are positions, too: those
    of all requests by routes of these names.
    """

    max_in_flight: int | None = None
    max_prefill_tokens: int | None = None
    max_kv_usage: float | None = None
    headroom: float = math.inf
    max_waiting: int = 1_000
    max_waiting_tokens: int = 10_000_000
    priority_header: str = "x-priority"
    tenant_header: str = "x-tenant"
    wait_header: str = "x-max-wait-ms"
    priorities: tuple[PrioritySettings, ...] = (PrioritySettings(name="normal"),)
    usual_priority: int = 0
    route_priorities: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupSettings:
    """How an endpoint that is new in a pool, or was restarted, comes to its full share (`ext_proc.core.warming`).

    It takes `duration_s`, begins with `minimum` (a share above 0) and rises in a line where `aggression` is 1, quicker
    at the beginning above.
    """

    duration_s: float
    minimum: float = 0.1
    aggression: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How endpoints are asked whether they are ready (`ext_proc.signals.readiness`): the page `path` must answer 200
    within `timeout_s`, and with `models` the pool's model must be in `/v1/models`."""

    path: str = "/health"
    interval_s: float = 5.0
    timeout_s: float = 2.0
    models: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """Where a pool's GPUs are told of, and what counts against an endpoint (`ext_proc.core.gpu_signs`).

    `url` and the values of `match` are templates about the endpoint (`ext_proc.core.endpoint_text`); `match` are labels
    that an endpoint's GPUs have. `fatal_xids` are errors after which the driver gives a GPU up. Temperatures are in °C,
    shares from 0 to 1; None is not looked at. `has_token`: the pool has a token for the exporter.
    """

    url: str = "http://{host}:9400/metrics"
    match: tuple[tuple[str, str], ...] = ()
    interval_s: float = 10.0
    timeout_s: float = 2.0
    fatal_xids: frozenset[int] = frozenset()
    max_temperature: float | None = None
    max_memory_temperature: float | None = None
    max_memory_usage: float | None = None
    max_utilization: float | None = None
    has_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """How endpoints that failed are asked for one token by the picker itself (`ext_proc.core.trials`), before anybody's
    request is risked there: within `timeout_s`."""

    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """What counts against an endpoint (`ext_proc.core.verdicts`, `ext_proc.core.health`).

    `failures` in a row make one kind of evidence bad, `successes` good again. `attempts`: what becomes of requests may
    eject; `scrapes`: metrics that cannot be read any more. None switches off: `heartbeat_s` of silence, `max_kv_usage`
    (0 to 1), and `stuck_s` in which requests run and no token comes.
    """

    failures: int = 3
    successes: int = 2
    attempts: bool = True
    scrapes: bool = True
    heartbeat_s: float | None = 30.0
    max_kv_usage: float | None = 0.95
    stuck_s: float | None = 30.0
    probe: ProbeSettings | None = None
    """None: nobody is asked."""
    trial: TrialSettings | None = None
    """None: who failed is tried by requests alone."""
    gpu: GpuSettings | None = None
    """None: hardware is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeSettings:
    """What `kv-aware` charges beside work (`ext_proc.core.charges`), in milliseconds; 0 charges nothing.

    `failure_ms` is what a failed try costs, `adapter_load_ms` how long an engine takes to load a LoRA adapter,
    `session_ms` how much cheaper another endpoint than a session's own has to be; its key is that of the strategy
    `session`.
    """

    failure_ms: float = 10_000.0
    adapter_load_ms: float = 300.0
    session_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSettings:
    """What part of a pool's requests, in `percent`, begins at the level of this `priority` (`ext_proc.core.levels`).

    `why` says from where, for the record, if nearer levels had to pass it on.
    """

    priority: int
    percent: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """One pool. `cluster` is Envoy's name for it; `first_byte_s` None means: derive the limit from the request.

    `parameters` are those of strategies by name (`ext_proc.core.strategies`), where they are not the defaults. `own`
    makes a strategy of the user's, for a `strategy` that is none of ours. `shadow` decides beside it without effect,
    `shadow_own` makes that one (`ext_proc.core.shadow`). Without `warmup` endpoints have their full share at once.
    """

    name: str
    cluster: str
    strategy: str = "kv-aware"
    endpoints: tuple[EndpointSettings, ...] = ()
    first_byte_s: float | None = None
    request_timeout_s: float = 600.0
    filters: tuple[FilterSettings, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    own: "Maker | None" = None
    shadow: str = ""
    shadow_own: "Maker | None" = None
    scrape: ScrapeSettings = ScrapeSettings()
    kv_events: KvEventSettings | None = None
    models: tuple[str, ...] = ()
    """Canonical names of the models that lead to it."""
    base_model: str = ""
    """The model that its engines serve, by the name that they are asked for; other names are adapters to it."""
    prefix_mode: str = "auto"
    """`precise` and `auto`: by what engines tell of their blocks, where prompts are tokenised; `approximate`: not."""
    admission: AdmissionSettings | None = None
    distrusts: bool = True
    """Whether what is predicted of caches counts less where engines do not find it (`ext_proc.core.truth`)."""
    warmup: WarmupSettings | None = None
    charges: ChargeSettings = ChargeSettings()
    health: HealthSettings | None = None
    """None: requests alone are evidence."""
    shares: tuple[ShareSettings, ...] = ()
    """While requests move between levels; else all begin at the nearest one."""
    is_gradual: bool = False
    """Whether requests leave a level that still serves by shares alone, however bad it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaySettings:
    """Where requests for a model may go in place of the pool that Envoy chose (`ext_proc.core.detours`).

    `model` is the canonical name of the one that answers there; for `is_same` it is the model itself, in another pool.
    Requests that offer tools lose them (`off`), do not go there (`skip`), or keep them; answers are bounded by
    `max_tokens`.
    """

    cluster: str
    pool: str
    model: str
    is_same: bool = False
    tools: str = "keep"
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CannedSettings:
    """An answer to whom nobody can answer: a chat or a completion of this text, or an error with another `status`."""

    text: str
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationSettings:
    """What becomes of a model's requests when the pool that Envoy chose cannot serve them (`ext_proc.core.detours`).

    `ways` are tried in order; they are for requests by the model's own route and by those of rules, but for rules that
    have ways of their own. A pool that was unavailable is used again after `recover_after_s` of health. `slo_ms` is how
    late a first token may be expected.
    """

    ways: tuple[WaySettings, ...] = ()
    route_ways: Mapping[str, tuple[WaySettings, ...]] = field(default_factory=dict, hash=False)
    """Route name → ways in place of those."""
    on_unavailable: bool = True
    on_saturation: bool = True
    slo_ms: float | None = None
    recover_after_s: float = 10.0
    answer: CannedSettings | None = None

    @property
    def every_way(self) -> tuple[WaySettings, ...]:
        """Those of all routes."""
        return (*self.ways, *(way for ways in self.route_ways.values() for way in ways))


@dataclass(frozen=True, slots=True, kw_only=True)
class PickerSettings:
    """All that the picker obeys. `models` maps each name and each alias to the canonical name.

    An empty `models` means that models are not configured: every name is taken as it is; so is a name that is not in
    `models` on one of the `open_routes`. The engine is asked for the canonical name, unless `engine_models` has another
    one for it, or `rewrites`, which win, for the route that Envoy chose. `timeouts_s` are those of routes that have one
    of their own. `orca` are the names of numbers in the load headers of answers (`ext_proc.signals.orca`), None while
    those are not read. With `any_reporter` load reports are taken from whoever sends them for an endpoint, without it
    from the endpoint's own IP address.
    """

    version: str
    pools: tuple[PoolSettings, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    engine_models: Mapping[str, str] = field(default_factory=dict)
    rewrites: Mapping[str, str] = field(default_factory=dict)
    open_routes: frozenset[str] = frozenset()
    timeouts_s: Mapping[str, float] = field(default_factory=dict)
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    """Canonical models whose prompts are tokenised → by `file` or by asking the `engine` (`ext_proc.tokens`)."""
    tokens_within_s: float = math.inf
    """What of Envoy's patience with a pick may be spent on tokens."""
    orca: Mapping[str, tuple[str, ...]] | None = None
    any_reporter: bool = False
    degradations: Mapping[str, DegradationSettings] = field(default_factory=dict, hash=False)
    """Canonical models that may be answered otherwise; all others never are."""
    led_to: frozenset[str] | None = None
    """Clusters to which all Envoys have routes for those; None: nobody knows, and time has to tell."""
