"""What the picker is told about pools, endpoints and models; the control plane fills these values from its policy.

Values only. An `address` is `ip:port` or `[v6]:port`, in exactly the text that Envoy prints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
class PoolSettings:
    """One pool. `cluster` is Envoy's name for it; `first_byte_s` None means: derive the limit from the request."""

    name: str
    cluster: str
    strategy: str = "kv-aware"
    endpoints: tuple[EndpointSettings, ...] = ()
    first_byte_s: float | None = None
    request_timeout_s: float = 600.0


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
