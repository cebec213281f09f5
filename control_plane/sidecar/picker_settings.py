"""Policy and fleet in the words of the picker: the one place where the slow loop fills in the fast loop's settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from control_plane.compile import cluster_name
from control_plane.compile.localities import Locality, Placement, placements
from control_plane.compile.names import DEFAULT_ROUTE, model_route_name, rule_route_name
from control_plane.fleet.model import Endpoint, Fleet, Health
from control_plane.policy.admission import USUAL_PRIORITY, Admission, AdmissionPriority
from control_plane.policy.endpoint_health import COUNTING_ENGINES, EndpointHealth
from control_plane.policy.feedback import Orca
from control_plane.policy.gpu_health import GpuHealth
from control_plane.policy.kv_events import KvEvents
from control_plane.policy.load_balancing import Warmup
from control_plane.policy.model import Model, Policy, Pool, Rule
from control_plane.policy.scraping import Scrape
from control_plane.policy.strategies import STRATEGIES, KvAwareStrategy, PickerFilter, PoolPicker
from control_plane.policy.tokenizers import APPROXIMATE
from control_plane.sidecar.degradations import degradation_of
from control_plane.sidecar.own_strategies import maker
from ext_proc.core.settings import (
    AdmissionSettings,
    BatchSettings,
    ChargeSettings,
    EndpointSettings,
    FilterSettings,
    GpuSettings,
    HealthSettings,
    KvEventSettings,
    PickerSettings,
    PoolSettings,
    PrioritySettings,
    ProbeSettings,
    ScrapeSettings,
    ShareSettings,
    TrialSettings,
    WarmupSettings,
)
from ext_proc.core.strategies import gpu_memory, queue_depth, session, weighted
from ext_proc.signals.orca import names_with

_PATIENCE = 0.4
"""The share of `messageTimeout` that tokens may take: the pick comes after them, and it must not be late itself."""

_NAMEABLE = (Health.HEALTHY, Health.DEGRADED)
"""What a pick may name: Envoy's `override_host` does not look at health, so the picker must."""


def picker_settings(policy: Policy, fleet: Fleet, version: str, region: str = "", zone: str = "") -> PickerSettings:
    """The settings under which the picker chooses, given the policy and the endpoints there are.

    `region` and `zone` say where the picker's Envoy stands: the same rule as for Envoy's own priorities
    (`control_plane.compile.localities`) makes them levels, which the picker must obey because `override_host` does not.
    While requests move between places the levels have shares (`control_plane.fleet.zones`).
    """
    node = Locality(region, zone)
    return PickerSettings(
        version=version,
        pools=tuple(
            _with_tokens(
                _pool(pool, fleet.pools.get(pool.name, ()), node, policy.rules), pool, policy.models_of(pool.name)
            )
            for pool in policy.pools
        ),
        models={name: model.name for model in policy.models for name in (model.name, *model.aliases)},
        tokenizers={model.name: model.tokenizer.from_ for model in policy.models if model.tokenizer},
        tokens_within_s=_PATIENCE * min(listener.picker.message_timeout_s for listener in policy.listeners),
        engine_models={model.name: model.rewrite.model for model in policy.models if model.rewrite},
        rewrites={rule_route_name(rule.name): rule.rewrite.model for rule in policy.rules if rule.rewrite},
        open_routes=_open_routes(policy),
        timeouts_s={
            **{model_route_name(model.name): model.timeout_s for model in policy.models if model.timeout_s},
            **{rule_route_name(rule.name): rule.timeout_s for rule in policy.rules if rule.timeout_s},
        },
        orca=_orca(policy.feedback.orca),
        any_reporter=policy.control_plane.load_reports.any_reporter,
        degradations={model.name: degradation_of(model, policy) for model in policy.models if model.degrades},
    )


def _orca(orca: Orca | None) -> Mapping[str, tuple[str, ...]] | None:
    return None if orca is None else names_with(asdict(orca.metrics))


def _open_routes(policy: Policy) -> frozenset[str]:
    """Routes for which it does not matter whether the model is one of the policy's: rules take requests by their
    headers, and a virtual host without models takes them all."""
    hosts = (host for listener in policy.listeners for host in listener.virtual_hosts)
    default = {DEFAULT_ROUTE} if any(host.models == () for host in hosts) else set()
    return frozenset({rule_route_name(rule.name) for rule in policy.rules} | default)


def _pool(pool: Pool, endpoints: tuple[Endpoint, ...], node: Locality, rules: tuple[Rule, ...]) -> PoolSettings:
    balancer = pool.traffic_policy.load_balancer
    setting = balancer.locality_lb_setting
    endpoints = tuple(endpoint for endpoint in endpoints if endpoint.health is not Health.DRAINED)
    together: dict[Locality, int] = {}
    for endpoint in endpoints:
        together[_locality(endpoint)] = together.get(_locality(endpoint), 0) + endpoint.weight
    placed = placements(together, node, setting)
    return PoolSettings(
        name=pool.name,
        cluster=cluster_name(pool.name),
        strategy=pool.picker.strategy,
        endpoints=tuple(
            replace(
                _endpoint(endpoint, pool.engine, placed.get(_locality(endpoint)), together[_locality(endpoint)]),
                far_ms=_far_ms(_locality(endpoint), node, pool.picker.kv_aware),
            )
            for endpoint in endpoints
        ),
        first_byte_s=pool.timeouts.first_byte_s,
        request_timeout_s=pool.timeouts.request_s,
        filters=tuple(_filter(each) for each in pool.picker.filters),
        parameters=_parameters(pool.picker),
        own=None if pool.picker.strategy in STRATEGIES else maker(pool.picker.strategy),
        distrusts=pool.picker.check_predictions,
        shadow=pool.picker.shadow,
        shadow_own=None if pool.picker.shadow in ("", *STRATEGIES) else maker(pool.picker.shadow),
        scrape=_scrape(pool.scrape),
        kv_events=None if pool.kv_events is None else _kv_events(pool.kv_events),
        admission=None if pool.picker.admission is None else _admission(pool.picker.admission, rules),
        warmup=None if balancer.warmup is None else _warmup(balancer.warmup),
        charges=_charges(pool.picker.kv_aware),
        health=_health(pool.health, pool.scrape, pool.engine),
        shares=_shares(endpoints, placed, node) if setting.shifts is not None else (),
        is_gradual=setting.shifts is not None and bool(node),
    )


def _with_tokens(made: PoolSettings, pool: Pool, models: tuple[Model, ...]) -> PoolSettings:
    """The pool, with the word of its engines on single blocks where all prompts can be compared to it."""
    first = (models[0].rewrite.model if models[0].rewrite else models[0].name) if models else ""
    base_model = pool.prefix_index.base_model or first
    is_exact = pool.prefix_index.mode != APPROXIMATE and bool(models) and all(model.tokenizer for model in models)
    return replace(
        made,
        models=tuple(model.name for model in models),
        base_model=base_model,
        # Nobody can be asked for a token of no model.
        health=made.health if base_model or made.health is None else replace(made.health, trial=None),
        prefix_mode=pool.prefix_index.mode,
        kv_events=None if made.kv_events is None else replace(made.kv_events, is_exact=is_exact),
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


def _warmup(warmup: Warmup) -> WarmupSettings:
    return WarmupSettings(
        duration_s=warmup.duration_s, minimum=warmup.minimum_percent / 100, aggression=warmup.aggression
    )


def _admission(admission: Admission, rules: tuple[Rule, ...]) -> AdmissionSettings:
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
        priority_header=admission.priority_header or "",
        tenant_header=admission.tenant_header or "",
        wait_header=admission.wait_header or "",
        priorities=tuple(
            PrioritySettings(
                name=priority.name,
                models=frozenset(priority.models),
                kinds=frozenset(priority.kinds),
                max_wait_s=0.0 if priority.sheddable else priority.max_wait_s or admission.max_wait_s,
            )
            for priority in priorities
        ),
        usual_priority=names.index(admission.default_priority) if admission.default_priority else 0,
        route_priorities={
            rule_route_name(rule.name): names.index(rule.priority) for rule in rules if rule.priority in names
        },
    )


_MISSED_SCRAPES = 3
"""Of an endpoint that is asked seldom so many answers may fail to come before it is silent."""


def _health(health: EndpointHealth, scrape: Scrape | None, engine: str) -> HealthSettings:
    silence_s = health.heartbeat_timeout_s
    if silence_s is not None and scrape is not None:
        silence_s = max(silence_s, _MISSED_SCRAPES * scrape.interval_s)
    return HealthSettings(
        failures=health.failures,
        successes=health.successes,
        attempts=health.attempts,
        scrapes=health.scrapes,
        heartbeat_s=silence_s,
        max_kv_usage=None if health.max_kv_usage is None else health.max_kv_usage / 100,
        stuck_s=health.stuck_after_s if engine in COUNTING_ENGINES else None,
        probe=None
        if health.probe is None
        else ProbeSettings(
            path=health.probe.path,
            interval_s=health.probe.interval_s,
            timeout_s=health.probe.timeout_s,
            models=health.probe.models,
        ),
        gpu=None if health.gpu is None else _gpu(health.gpu),
        trial=None if health.trial is None else TrialSettings(timeout_s=health.trial.timeout_s),
    )


def _gpu(gpu: GpuHealth) -> GpuSettings:
    return GpuSettings(
        url=gpu.url,
        match=tuple(sorted(gpu.match.items())),
        interval_s=gpu.interval_s,
        timeout_s=gpu.timeout_s,
        fatal_xids=frozenset(gpu.fatal_xids),
        max_temperature=gpu.max_temperature,
        max_memory_temperature=gpu.max_memory_temperature,
        max_memory_usage=None if gpu.max_memory_usage is None else gpu.max_memory_usage / 100,
        max_utilization=None if gpu.max_utilization is None else gpu.max_utilization / 100,
        has_token=bool(gpu.bearer_token_file),
    )


def _charges(charged: KvAwareStrategy) -> ChargeSettings:
    return ChargeSettings(
        failure_ms=1e3 * charged.failure_cost_s,
        adapter_load_ms=1e3 * charged.adapter_load_s,
        session_ms=1e3 * charged.session_bound_s,
    )


def _far_ms(there: Locality, node: Locality, charged: KvAwareStrategy) -> float:
    """What an endpoint's distance costs; nothing where either side does not say where it is."""
    if there.region and node.region and there.region != node.region:
        return 1e3 * charged.other_region_cost_s
    if there.zone and node.zone and there.zone != node.zone:
        return 1e3 * charged.other_zone_cost_s
    return 0.0


def _shares(
    endpoints: Sequence[Endpoint], placed: Mapping[Locality, Placement], node: Locality
) -> tuple[ShareSettings, ...]:
    """The shares of levels, nearest first; none while all requests begin at the nearest one."""
    found = {
        placed[_locality(endpoint)].priority: share
        for endpoint in endpoints
        if (share := endpoint.share_at(node.region, node.zone)) is not None
    }
    return tuple(
        ShareSettings(priority=priority, percent=share.percent, why=share.why)
        for priority, share in sorted(found.items(), key=lambda item: item[0])
    )


def _filter(filter_: PickerFilter) -> FilterSettings:
    return FilterSettings(
        kinds=frozenset(filter_.kinds),
        minimum_tokens=filter_.min_prompt_tokens,
        maximum_tokens=filter_.max_prompt_tokens,
        labels=filter_.labels,
        zone=filter_.zone,
        adapter=filter_.adapter_loaded,
        model=filter_.model_loaded,
        batch=None
        if filter_.batch is None
        else BatchSettings(header=filter_.batch.http_header_name, max_in_flight=filter_.batch.max_in_flight),
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
        state="" if endpoint.health in _NAMEABLE else endpoint.health.value,
        priority=0 if placement is None else placement.priority,
    )


def without_additions(old: PickerSettings, new: PickerSettings) -> PickerSettings:
    """`new` without what Envoy has not been told yet: used between a push and its acknowledgement.

    A removed endpoint leaves the picker before Envoy loses it, an added one enters after Envoy has it, so a pick never
    names what Envoy does not know. A pool that shares no endpoint with its former self is taken as it is, and a pool
    that is new is left out (its requests go unpicked): either way the picker must not answer "no endpoint" for it.
    """
    before = {
        pool.name: {endpoint.address for endpoint in pool.endpoints if not is_out_of_envoy(endpoint)}
        for pool in old.pools
    }
    pools = tuple(_restricted(pool, before[pool.name]) for pool in new.pools if pool.name in before)
    return replace(new, pools=pools)


def is_out_of_envoy(endpoint: EndpointSettings) -> bool:
    """Whether it is watched, though Envoy does not know it any more: to name it again, Envoy must first be told."""
    return endpoint.state == Health.REMOVED.value


def _restricted(pool: PoolSettings, known: set[str]) -> PoolSettings:
    kept = tuple(each for each in pool.endpoints if each.address in known or is_out_of_envoy(each))
    return replace(pool, endpoints=kept) if any(endpoint.available for endpoint in kept) else pool
