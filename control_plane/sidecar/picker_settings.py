"""Policy and fleet in the words of the picker: the one place where the slow loop fills in the fast loop's settings."""

import math
from dataclasses import asdict, replace
from typing import Any

from control_plane.compile import cluster_name
from control_plane.compile.localities import Locality, Placement, placements
from control_plane.compile.names import DEFAULT_ROUTE, model_route_name, rule_route_name
from control_plane.fleet.model import Endpoint, Fleet, Health
from control_plane.policy.admission import USUAL_PRIORITY, Admission, AdmissionPriority
from control_plane.policy.kv_events import KvEvents
from control_plane.policy.model import Policy, Pool
from control_plane.policy.scraping import Scrape
from control_plane.policy.strategies import STRATEGIES, PickerFilter, PoolPicker
from control_plane.sidecar.own_strategies import maker
from ext_proc.core.settings import (
    AdmissionSettings,
    EndpointSettings,
    FilterSettings,
    KvEventSettings,
    PickerSettings,
    PoolSettings,
    PrioritySettings,
    ScrapeSettings,
)
from ext_proc.core.strategies import gpu_memory, queue_depth, session, weighted

_NAMEABLE = (Health.HEALTHY, Health.DEGRADED)
"""What a pick may name: Envoy's `override_host` does not look at health, so the picker must."""


def picker_settings(policy: Policy, fleet: Fleet, version: str, region: str = "", zone: str = "") -> PickerSettings:
    """The settings under which the picker chooses, given the policy and the endpoints there are.

    `region` and `zone` say where the picker's Envoy stands: the same rule as for Envoy's own priorities
    (`control_plane.compile.localities`) makes them levels, which the picker must obey because `override_host` does not.
    What is left to a later stage: Envoy spills load over to the next priority as soon as less than about 72 % of one is
    healthy; the picker stays in the nearest level while anybody there may be named.
    """
    node = Locality(region, zone)
    return PickerSettings(
        version=version,
        pools=tuple(_pool(pool, fleet.pools.get(pool.name, ()), node) for pool in policy.pools),
        models={name: model.name for model in policy.models for name in (model.name, *model.aliases)},
        engine_models={model.name: model.rewrite.model for model in policy.models if model.rewrite},
        rewrites={rule_route_name(rule.name): rule.rewrite.model for rule in policy.rules if rule.rewrite},
        open_routes=_open_routes(policy),
        timeouts_s={
            **{model_route_name(model.name): model.timeout_s for model in policy.models if model.timeout_s},
            **{rule_route_name(rule.name): rule.timeout_s for rule in policy.rules if rule.timeout_s},
        },
    )


def _open_routes(policy: Policy) -> frozenset[str]:
    """Routes for which it does not matter whether the model is one of the policy's: rules take requests by their
    headers, and a virtual host without models takes them all."""
    hosts = (host for listener in policy.listeners for host in listener.virtual_hosts)
    default = {DEFAULT_ROUTE} if any(host.models == () for host in hosts) else set()
    return frozenset({rule_route_name(rule.name) for rule in policy.rules} | default)


def _pool(pool: Pool, endpoints: tuple[Endpoint, ...], node: Locality) -> PoolSettings:
    setting = pool.traffic_policy.load_balancer.locality_lb_setting
    together: dict[Locality, int] = {}
    for endpoint in endpoints:
        together[_locality(endpoint)] = together.get(_locality(endpoint), 0) + endpoint.weight
    placed = placements(together, node, setting)
    return PoolSettings(
        name=pool.name,
        cluster=cluster_name(pool.name),
        strategy=pool.picker.strategy,
        endpoints=tuple(
            _endpoint(endpoint, pool.engine, placed.get(_locality(endpoint)), together[_locality(endpoint)])
            for endpoint in endpoints
        ),
        first_byte_s=pool.timeouts.first_byte_s,
        request_timeout_s=pool.timeouts.request_s,
        filters=tuple(_filter(each) for each in pool.picker.filters),
        parameters=_parameters(pool.picker),
        own=None if pool.picker.strategy in STRATEGIES else maker(pool.picker.strategy),
        shadow=pool.picker.shadow,
        shadow_own=None if pool.picker.shadow in ("", *STRATEGIES) else maker(pool.picker.shadow),
        scrape=_scrape(pool.scrape),
        kv_events=None if pool.kv_events is None else _kv_events(pool.kv_events),
        admission=None if pool.picker.admission is None else _admission(pool.picker.admission),
    )


def _scrape(scrape: Scrape | None) -> ScrapeSettings:
    if scrape is None:
        return ScrapeSettings(is_on=False)
    metrics = asdict(scrape.metrics) if scrape.metrics is not None else {}
    return ScrapeSettings(
        path=scrape.path,
        port=scrape.port,
        interval_s=scrape.interval_s,
        metrics={name: metric for name, metric in metrics.items() if metric},
    )


def _kv_events(events: KvEvents) -> KvEventSettings:
    return KvEventSettings(
        port=events.port,
        port_offset=events.port_offset,
        replay_port=events.replay_port,
        replay_port_offset=events.replay_port_offset,
        ranks=events.data_parallel_size,
        topic=events.topic,
        bind="" if events.bind is None else str(events.bind),
    )


def _admission(admission: Admission) -> AdmissionSettings:
    priorities = admission.priorities or (AdmissionPriority(name=USUAL_PRIORITY),)
    names = [priority.name for priority in priorities]
    usage = admission.max_kv_usage
    return AdmissionSettings(
        max_in_flight=admission.max_in_flight,
        max_prefill_tokens=admission.max_prefill_tokens,
        max_kv_usage=None if usage is None else usage / 100,
        headroom=math.inf if admission.headroom is None else admission.headroom / 100,
        max_waiting=admission.max_waiting,
        max_waiting_tokens=admission.max_waiting_tokens,
        priority_header=admission.priority_header,
        tenant_header=admission.tenant_header,
        wait_header=admission.wait_header,
        priorities=tuple(
            PrioritySettings(
                name=priority.name,
                kinds=frozenset(priority.kinds),
                max_wait_s=0.0 if priority.sheddable else priority.max_wait_s or admission.max_wait_s,
            )
            for priority in priorities
        ),
        usual_priority=names.index(admission.default_priority) if admission.default_priority else 0,
    )


def _filter(filter_: PickerFilter) -> FilterSettings:
    return FilterSettings(
        kinds=frozenset(filter_.kinds),
        minimum_tokens=filter_.min_prompt_tokens,
        maximum_tokens=filter_.max_prompt_tokens,
        labels=filter_.labels,
        adapter=filter_.adapter_loaded,
    )


def _parameters(picker: PoolPicker) -> dict[str, Any]:
    """Those of all strategies, whichever is used: a replay may ask for another one."""
    own = {name: picker.own_parameters for name in picker.strategies if name not in STRATEGIES}
    return {
        "weighted": weighted.Parameters(
            latency_limit_s=picker.weighted.latency_limit_s, error_limit=picker.weighted.error_limit / 100
        ),
        "queue-depth": queue_depth.Parameters(maximum_depth=picker.queue_depth.maximum_depth),
        "gpu-memory": gpu_memory.Parameters(maximum_usage=picker.gpu_memory.maximum_usage / 100),
        "session": session.Parameters(
            header=picker.session.http_header_name,
            cookie=picker.session.http_cookie_name,
            use_user=picker.session.use_user,
            load_factor=picker.session.hash_balance_factor / 100,
        ),
        **own,
    }


def _locality(endpoint: Endpoint) -> Locality:
    return Locality(endpoint.region, endpoint.zone)


def _endpoint(endpoint: Endpoint, engine: str, placement: Placement | None, together: int) -> EndpointSettings:
    """`placement` is that of the endpoint's locality, None where `distribute` gives it nothing.

    `together` is what the locality's endpoints weigh; where it got a share instead, its endpoints weigh accordingly,
    for strategies that look at weights.
    """
    weight = endpoint.weight
    if placement is not None and placement.weight != together:
        weight = max(1, placement.weight * weight // together)
    return EndpointSettings(
        address=endpoint.address,
        region=endpoint.region,
        zone=endpoint.zone,
        weight=weight,
        engine=engine,
        labels=dict(endpoint.labels),
        available=endpoint.health in _NAMEABLE and placement is not None,
        priority=0 if placement is None else placement.priority,
    )


def without_additions(old: PickerSettings, new: PickerSettings) -> PickerSettings:
    """`new` without what Envoy has not been told yet: used between a push and its acknowledgement.

    A removed endpoint leaves the picker before Envoy loses it, an added one enters after Envoy has it, so a pick never
    names what Envoy does not know. A pool that shares no endpoint with its former self is taken as it is, and a pool
    that is new is left out (its requests go unpicked): either way the picker must not answer "no endpoint" for it.
    """
    before = {pool.name: {endpoint.address for endpoint in pool.endpoints} for pool in old.pools}
    pools = tuple(_restricted(pool, before[pool.name]) for pool in new.pools if pool.name in before)
    return replace(new, pools=pools)


def _restricted(pool: PoolSettings, known: set[str]) -> PoolSettings:
    kept = tuple(endpoint for endpoint in pool.endpoints if endpoint.address in known)
    return replace(pool, endpoints=kept) if any(endpoint.available for endpoint in kept) else pool
