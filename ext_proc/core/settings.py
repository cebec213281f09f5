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
    """One pod. `available` is False while it is known to be unhealthy or draining: such a pod is never named.

    `priority` is its level, 0 for the nearest, as in Envoy's `ClusterLoadAssignment`; gaps are allowed. A level is used
    while nobody in a nearer one may be named (`ext_proc.core.levels`).
    """

    address: str
    region: str = ""
    zone: str = ""
    weight: int = DEFAULT_WEIGHT
    engine: str = "vllm"
    labels: Mapping[str, str] = field(default_factory=dict)
    available: bool = True
    priority: int = 0


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
    pool's prompts are hashed by their token ids, so that single blocks mean something to the picker.
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
class FilterSettings:
    """Requests of some `kinds` (none: of all) and lengths, and whom they are for: endpoints with all of the `labels`
    and, with `adapter`, with the request's model loaded as an adapter."""

    kinds: frozenset[str] = frozenset()
    minimum_tokens: int = 0
    maximum_tokens: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    adapter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PrioritySettings:
    """One priority of requests that wait. `kinds` have it unless a header says otherwise; after `max_wait_s` a request
    is refused, at once where that is 0."""

    name: str
    kinds: frozenset[str] = frozenset()
    max_wait_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """When a pool is full (`ext_proc.core.places`), and who waits for a place (`ext_proc.core.admission`).

    A pool is full at the first of its limits, which are those of the mean endpoint: requests in flight, prompt tokens
    without a first token, KV usage (0 to 1); None does not limit. One endpoint takes up to `headroom` (a share) more.
    `priorities` begin with the highest; `usual_priority` is the position of the one that requests have by default.
    Headers are named in lower case.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """One pool. `cluster` is Envoy's name for it; `first_byte_s` None means: derive the limit from the request.

    `parameters` are those of strategies by name (`ext_proc.core.strategies`), where they are not the defaults. `own`
    makes a strategy of the user's, for a `strategy` that is none of ours. `shadow` decides beside it without effect,
    `shadow_own` makes that one (`ext_proc.core.shadow`).
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
    admission: AdmissionSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickerSettings:
    """All that the picker obeys. `models` maps each name and each alias to the canonical name.

    An empty `models` means that models are not configured: every name is taken as it is; so is a name that is not in
    `models` on one of the `open_routes`. The engine is asked for the canonical name, unless `engine_models` has another
    one for it, or `rewrites`, which win, for the route that Envoy chose. `timeouts_s` are those of routes that have one
    of their own.
    """

    version: str
    pools: tuple[PoolSettings, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    engine_models: Mapping[str, str] = field(default_factory=dict)
    rewrites: Mapping[str, str] = field(default_factory=dict)
    open_routes: frozenset[str] = frozenset()
    timeouts_s: Mapping[str, float] = field(default_factory=dict)
