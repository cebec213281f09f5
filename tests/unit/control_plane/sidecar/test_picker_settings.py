"""From policy and fleet to the picker's settings, and what of them may be used before Envoy has ACKed."""

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile import cluster_name
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.localities import Locality
from control_plane.fleet.model import Endpoint, Fleet, Health, Share, static_fleet
from control_plane.policy import load
from control_plane.policy.gpu_health import FATAL_XIDS
from control_plane.policy.request_kinds import KINDS
from control_plane.policy.strategies import STRATEGIES as NAMES
from control_plane.sidecar.picker_settings import picker_settings, without_additions
from ext_proc.core.request import KINDS as KINDS_OF_PATHS
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
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.signals import orca

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, aliases: [gpt-4], pool: chat}]
pools:
  chat:
    engine: sglang
    endpoints: [{address: 127.0.0.1:1, zone: a, weight: 7}, {address: 127.0.0.1:2}]
    picker: {strategy: least-request}
    timeouts: {request: 30s, firstByte: 2s}
"""


ROUTED = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, aliases: [gpt-4], pool: chat, rewrite: {model: engine}, timeout: 20s}, {name: k, pool: chat}]
rules:
  - {name: forced, match: {userTier: [a]}, pool: chat, rewrite: {model: other}, timeout: 5s}
  - {name: plain, pool: chat}
pools: {chat: {endpoints: [{address: 127.0.0.1:1}]}}
"""


def test_what_routes_say() -> None:
    """Names for engines by model and by rule, rules' routes, and timeouts by route."""
    document = load(ROUTED, "policy.yaml").document
    assert document is not None
    found = picker_settings(document.policy, static_fleet(document.policy), document.version)
    assert dict(found.engine_models) == {"llama": "engine"}
    assert dict(found.rewrites) == {"rule/forced": "other"}
    assert found.open_routes == {"rule/forced", "rule/plain"}
    assert dict(found.timeouts_s) == {"model/llama": 20.0, "rule/forced": 5.0}
    bare = ROUTED.replace("8080}", "8080, virtualHosts: [{name: h, domains: ['*'], models: []}]}")
    document = load(bare, "policy.yaml").document
    assert document is not None
    found = picker_settings(document.policy, static_fleet(document.policy), document.version)
    assert found.open_routes == {"rule/forced", "rule/plain", "default"}


def test_how_engines_are_asked() -> None:
    """Unless it says something else, as the engine usually wants it; names that were not given are none."""
    for words, expected in (
        ("", ScrapeSettings(interval_s=0.2)),
        (", scrape: off", ScrapeSettings(is_on=False)),
        (
            ", engine: custom, scrape: {path: /s, port: 9, interval: 1s, metrics: {running: a, waiting: b}}",
            ScrapeSettings(path="/s", port=9, interval_s=1.0, metrics={"running": "a", "waiting": "b"}),
        ),
    ):
        document = load(ROUTED.replace("1}]}}", f"1}}]{words}}}}}"), "policy.yaml").document
        assert document is not None
        found = picker_settings(document.policy, static_fleet(document.policy), document.version)
        assert found.pools[0].scrape == expected


def settings(pools: dict[str, list[str]]) -> PickerSettings:
    """Settings with these pools and addresses."""
    return PickerSettings(
        version="v",
        pools=tuple(
            PoolSettings(
                name=name, cluster=name, endpoints=tuple(EndpointSettings(address=address) for address in addresses)
            )
            for name, addresses in pools.items()
        ),
    )


def addresses(found: PickerSettings) -> dict[str, list[str]]:
    """Pool → addresses."""
    return {pool.name: [endpoint.address for endpoint in pool.endpoints] for pool in found.pools}


def test_everything_that_the_picker_needs_is_filled_in() -> None:
    """Names, aliases, cluster, strategy, limits and endpoints arrive as the policy has them."""
    document = load(POLICY, "policy.yaml").document
    assert document is not None
    found = picker_settings(document.policy, static_fleet(document.policy), document.version)
    assert found.version == document.version
    assert dict(found.models) == {"llama": "llama", "gpt-4": "llama"}
    (pool,) = found.pools
    assert (pool.name, pool.cluster, pool.strategy) == ("chat", cluster_name("chat"), "least-request")
    assert (pool.first_byte_s, pool.request_timeout_s) == (2.0, 30.0)
    first, second = pool.endpoints
    assert (first.address, first.zone, first.weight, first.engine) == ("127.0.0.1:1", "a", 7, "sglang")
    assert (second.address, second.weight, second.available) == ("127.0.0.1:2", 100, True)


def test_load_headers_and_reports() -> None:
    """Off by default; own names replace those that are known."""
    document = load(POLICY, "policy.yaml").document
    assert document is not None
    found = picker_settings(document.policy, static_fleet(document.policy), document.version)
    assert (found.orca, found.any_reporter) == (None, False)
    said = """
feedback: {orca: {metrics: {kvUsage: application_utilization}}}
controlPlane: {loadReports: {anyReporter: true}}
"""
    document = load(POLICY + said, "policy.yaml").document
    assert document is not None
    found = picker_settings(document.policy, static_fleet(document.policy), document.version)
    assert found.orca == {**orca.NAMES, "kv_usage": ("application_utilization",)}
    assert found.any_reporter


def test_parameters_of_strategies() -> None:
    """In the picker's units, for every strategy that has some, whichever is used."""
    words = (
        "{strategy: session, weighted: {latencyLimit: 2s, errorLimit: 50%}, queueDepth: {maximumDepth: 7}, "
        "gpuMemory: {maximumUsage: 90}, session: {httpHeaderName: X-User, hashBalanceFactor: 200}}"
    )
    document = load(POLICY.replace("{strategy: least-request}", words), "policy.yaml").document
    assert document is not None
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
    assert (pool.strategy, pool.own) == ("session", None)
    assert pool.parameters == {
        "weighted": weighted.Parameters(latency_limit_s=2.0, error_limit=0.5),
        "queue-depth": queue_depth.Parameters(maximum_depth=7),
        "gpu-memory": gpu_memory.Parameters(maximum_usage=0.9),
        "session": session.Parameters(header="x-user", load_factor=2.0),
    }


def test_charges() -> None:
    """In milliseconds, the defaults those of the picker; an own key for sessions is among the parameters."""
    assert charged("{strategy: kv-aware}").charges == ChargeSettings()
    words = (
        "{kvAware: {failureCost: 2s, adapterLoad: 40ms, sessionBound: 0.5s}, session: {httpCookieName: sid}, "
        "strategy: kv-aware}"
    )
    pool = charged(words)
    assert pool.charges == ChargeSettings(failure_ms=2_000, adapter_load_ms=40, session_ms=500)
    assert pool.parameters["session"] == session.Parameters(cookie="sid")


@pytest.mark.parametrize(
    ("there", "node", "far_ms"),
    [
        ("zone: a", ("", "a"), 0),
        ("zone: b", ("", "a"), 5),
        ("zone: b", ("", ""), 0),
        ("region: r", ("", "a"), 0),
        ("region: r, zone: b", ("r", "a"), 5),
        ("region: r, zone: a", ("r", "a"), 0),
        ("region: s, zone: a", ("r", "a"), 70),
        ("region: s", ("r", "a"), 70),
    ],
)
def test_distance(there: str, node: tuple[str, str], far_ms: float) -> None:
    """Another region is further than another zone; where one side does not say where it is, nothing is charged."""
    words = "{strategy: kv-aware, kvAware: {otherZoneCost: 5ms, otherRegionCost: 70ms}}"
    far, unknown = charged(words, there, node).endpoints
    assert (far.far_ms, unknown.far_ms) == (far_ms, 0)


def charged(picker: str, place: str = "zone: a", node: tuple[str, str] = ("", "")) -> PoolSettings:
    """The pool with these words at its picker, its first endpoint at this place, seen from a node."""
    text = POLICY.replace("{strategy: least-request}", picker).replace("zone: a", place)
    document = load(text, "policy.yaml").document
    assert document is not None
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version, *node).pools
    return pool


def test_a_shadow() -> None:
    """By its name; without one there is none."""
    for words, shadow in (("", ""), (", shadow: random", "random")):
        text = POLICY.replace("{strategy: least-request}", "{strategy: least-request" + words + "}")
        document = load(text, "policy.yaml").document
        assert document is not None
        (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
        assert (pool.strategy, pool.shadow, pool.shadow_own) == ("least-request", shadow, None)


def test_predictions_are_checked_unless_it_is_said() -> None:
    """`checkPredictions: false` lets them stand."""
    for words, checks in (("", True), (", checkPredictions: true", True), (", checkPredictions: false", False)):
        text = POLICY.replace("{strategy: least-request}", "{strategy: kv-aware" + words + "}")
        document = load(text, "policy.yaml").document
        assert document is not None
        (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
        assert pool.distrusts is checks


def test_filters() -> None:
    """In the policy's order."""
    words = (
        "{filters: [{kinds: [embedding, chat], labels: {gpu: l4}}, "
        "{minPromptTokens: 9, maxPromptTokens: 10, adapterLoaded: true}, "
        "{zone: a, modelLoaded: true, batch: {maxInFlight: 5}}]}"
    )
    document = load(POLICY.replace("{strategy: least-request}", words), "policy.yaml").document
    assert document is not None
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
    assert pool.filters == (
        FilterSettings(kinds=frozenset({"embedding", "chat"}), labels={"gpu": "l4"}),
        FilterSettings(minimum_tokens=9, maximum_tokens=10, adapter=True),
        FilterSettings(zone="a", model=True, batch=BatchSettings(header="x-batch-id", max_in_flight=5)),
    )


def test_kinds_are_those_of_requests() -> None:
    """The policy knows all that the picker can tell apart."""
    assert set(KINDS_OF_PATHS.values()) == set(KINDS)


def test_defaults_are_those_of_the_strategies() -> None:
    """What the policy has for a default is what a strategy has without a policy."""
    document = load(POLICY, "policy.yaml").document
    assert document is not None
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
    assert pool.parameters == {
        "weighted": weighted.Parameters(),
        "queue-depth": queue_depth.Parameters(),
        "gpu-memory": gpu_memory.Parameters(),
        "session": session.Parameters(),
    }


def test_every_strategy_has_its_name_in_the_policy() -> None:
    """The policy's list and the picker's table are one."""
    assert tuple(STRATEGIES) == NAMES


def test_an_unhealthy_or_draining_endpoint_is_not_available() -> None:
    """What Envoy would still use when named must not be named."""
    document = load(POLICY, "policy.yaml").document
    assert document is not None
    one, two = static_fleet(document.policy).pools["chat"]
    for health, available in (
        (Health.HEALTHY, True),
        (Health.DEGRADED, True),
        (Health.UNHEALTHY, False),
        (Health.DRAINING, False),
    ):
        fleet = Fleet(pools={"chat": (replace(one, health=health), two)})
        (pool,) = picker_settings(document.policy, fleet, "v").pools
        assert [endpoint.available for endpoint in pool.endpoints] == [available, True]
        assert pool.endpoints[0].state == ("" if available else health.value)


def test_who_was_drained_is_not_there() -> None:
    """The picker forgets it, as Envoy does: what comes back is cold."""
    document = load(POLICY, "policy.yaml").document
    assert document is not None
    one, two = static_fleet(document.policy).pools["chat"]
    fleet = Fleet(pools={"chat": (replace(one, health=Health.DRAINED), two)})
    (pool,) = picker_settings(document.policy, fleet, "v").pools
    assert [endpoint.address for endpoint in pool.endpoints] == [two.address]


TOKENS = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models:
  - {name: llama, pool: chat, rewrite: {model: meta/llama}, tokenizer: {file: t.json}}
  - {name: sql, aliases: [s], pool: chat SQL}
pools: {chat: {endpoints: [{address: 127.0.0.1:1}], kvEvents: {port: 1}, prefixIndex: INDEX}}
"""


def test_tokens() -> None:
    """Who is tokenised how; engines' blocks count where all prompts are, and the policy does not say otherwise."""
    for sql, index, expected in (
        ("", "{}", (False, "meta/llama", "auto")),
        (", tokenizer: {from: engine}", "{}", (True, "meta/llama", "auto")),
        (", tokenizer: {from: engine}", "{mode: precise, baseModel: base}", (True, "base", "precise")),
        (", tokenizer: {from: engine}", "{mode: approximate}", (False, "meta/llama", "approximate")),
    ):
        document = load(TOKENS.replace(" SQL", sql).replace("INDEX", index), "policy.yaml").document
        assert document is not None
        found = picker_settings(document.policy, static_fleet(document.policy), "v")
        (pool,) = found.pools
        assert pool.kv_events is not None
        assert (pool.kv_events.is_exact, pool.base_model, pool.prefix_mode) == expected
        assert pool.models == ("llama", "sql")
        assert found.tokenizers == {"llama": "file", **({"sql": "engine"} if sql else {})}
        assert found.tokens_within_s == 0.1


def test_warmup() -> None:
    """The pool's slow start is the picker's, too."""
    pools = "pools: {p: {endpoints: [{address: 127.0.0.1:1}], trafficPolicy: {loadBalancer: {LB}}}}"
    text = f"kvpilot: v1\nlisteners: [{{name: o, address: 127.0.0.1:8080}}]\nmodels: [{{name: m, pool: p}}]\n{pools}\n"
    for written, expected in (
        ("", None),
        ("warmup: {duration: 30s}", WarmupSettings(duration_s=30.0, minimum=0.1, aggression=1.0)),
        (
            "warmup: {duration: 1m, minimumPercent: 5, aggression: 2}",
            WarmupSettings(duration_s=60, minimum=0.05, aggression=2),
        ),
    ):
        document = load(text.replace("LB", written), "policy.yaml").document
        assert document is not None
        (pool,) = picker_settings(document.policy, static_fleet(document.policy), "v").pools
        assert pool.warmup == expected


def test_health() -> None:
    """What counts against an endpoint; one that is asked seldom is not silent before three answers are missing."""
    pools = "pools: {p: {endpoints: [{address: 127.0.0.1:1}], MORE}}"
    text = f"kvpilot: v1\nlisteners: [{{name: o, address: 127.0.0.1:8080}}]\nmodels: [{{name: m, pool: p}}]\n{pools}\n"
    everything_off = (
        "health: {attempts: false, scrapes: false, heartbeatTimeout: off, maxKvUsage: off, stuckAfter: off, "
        "failures: 5, successes: 1, trial: off}"
    )
    off = HealthSettings(
        attempts=False, scrapes=False, heartbeat_s=None, max_kv_usage=None, stuck_s=None, failures=5, successes=1
    )
    for written, expected in (
        ("", HealthSettings()),
        ("health: {maxKvUsage: 90%, stuckAfter: 1m}", HealthSettings(max_kv_usage=0.9, stuck_s=60.0)),
        (everything_off, off),
        ("health: {probe: {}}", HealthSettings(probe=ProbeSettings())),
        (
            "health: {probe: {path: /r, interval: 1s, timeout: 3s, models: false}}",
            HealthSettings(probe=ProbeSettings(path="/r", interval_s=1.0, timeout_s=3.0, models=False)),
        ),
        ("engine: sglang", HealthSettings(stuck_s=None)),
        ("scrape: {interval: 1m}", HealthSettings(heartbeat_s=180.0)),
        ("scrape: {interval: 1m}, health: {heartbeatTimeout: 5m}", HealthSettings(heartbeat_s=300.0)),
        ("scrape: off, health: {heartbeatTimeout: 5s}", HealthSettings(heartbeat_s=5.0)),
        ("health: {trial: {timeout: 9s}}", HealthSettings(trial=TrialSettings(timeout_s=9.0))),
    ):
        document = load(text.replace("MORE", written), "policy.yaml").document
        assert document is not None
        (pool,) = picker_settings(document.policy, static_fleet(document.policy), "v").pools
        is_as_usual = "trial" not in written
        assert pool.health == (replace(expected, trial=TrialSettings()) if is_as_usual else expected), written


def test_hardware() -> None:
    """Where GPUs are told of, and what of that counts."""
    pools = "pools: {p: {endpoints: [{address: 127.0.0.1:1}], health: {MORE}}}"
    text = f"kvpilot: v1\nlisteners: [{{name: o, address: 127.0.0.1:8080}}]\nmodels: [{{name: m, pool: p}}]\n{pools}\n"
    all_of_it = (
        "gpu: {url: 'http://{host}:9400/m', match: {pod: a, gpu: '0'}, interval: 2s, timeout: 1s, bearerTokenFile: t, "
        "fatalXids: [79], maxTemperature: off, maxMemoryTemperature: 90, maxMemoryUsage: 95%, maxUtilization: 99}"
    )
    usual = GpuSettings(fatal_xids=frozenset(FATAL_XIDS), max_temperature=87, max_memory_temperature=95)
    for written, expected in (
        ("failures: 3", None),
        ("gpu: {}", usual),
        (
            all_of_it,
            GpuSettings(
                url="http://{host}:9400/m",
                match=(("gpu", "0"), ("pod", "a")),
                interval_s=2.0,
                timeout_s=1.0,
                fatal_xids=frozenset({79}),
                max_memory_temperature=90,
                max_memory_usage=0.95,
                max_utilization=0.99,
                has_token=True,
            ),
        ),
    ):
        document = load(text.replace("MORE", written), "policy.yaml").document
        assert document is not None
        (pool,) = picker_settings(document.policy, static_fleet(document.policy), "v").pools
        assert pool.health is not None
        assert pool.health.gpu == expected


def test_what_is_inferred_is_none_of_the_pickers_business() -> None:
    """It comes from there: an endpoint that Envoys are told to avoid may be named all the same."""
    text = (
        "kvpilot: v1\nlisteners: [{name: o, address: 127.0.0.1:8080}]\nmodels: [{name: m, pool: p}]\n"
        "pools: {p: {endpoints: [{address: 127.0.0.1:1}]}}\n"
    )
    document = load(text, "policy.yaml").document
    assert document is not None
    endpoint = Endpoint(pool="p", address="127.0.0.1:1", inferred=Health.UNHEALTHY)
    (pool,) = picker_settings(document.policy, Fleet(pools={"p": (endpoint,)}), "v").pools
    assert [each.available for each in pool.endpoints] == [True]


LOCAL = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat:
    endpoints:
      - {address: 127.0.0.1:1, zone: zc}
      - {address: 127.0.0.1:2, zone: zb}
      - {address: 127.0.0.1:3, zone: za}
      - {address: 127.0.0.1:4}
    trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: ENABLED, failover: [{from: za, to: zb}]}}}
"""


@pytest.mark.parametrize(
    ("enabled", "region", "zone", "priorities"),
    [
        ("true", "", "za", [2, 1, 0, 2]),
        ("true", "", "zb", [1, 0, 1, 1]),
        ("true", "", "", [0, 0, 0, 0]),
        ("false", "", "za", [0, 0, 0, 0]),
    ],
)
def test_the_picker_has_the_priorities_that_envoy_has(
    enabled: str, region: str, zone: str, priorities: list[int]
) -> None:
    """By the rule of the compiler, from where the picker's Envoy stands; none where it is not said or not wanted."""
    document = load(LOCAL.replace("ENABLED", enabled), "policy.yaml").document
    assert document is not None
    fleet = static_fleet(document.policy)
    (pool,) = picker_settings(document.policy, fleet, "v", region, zone).pools
    assert [endpoint.priority for endpoint in pool.endpoints] == priorities
    assignment = load_assignment(document.policy.pools[0], fleet.pools["chat"], Locality(region, zone))
    told = {
        endpoint["endpoint"]["address"]["socketAddress"]["portValue"]: locality.get("priority", 0)
        for locality in cast(Any, assignment["endpoints"])
        for endpoint in locality["lbEndpoints"]
    }
    assert [told[port] for port in (1, 2, 3, 4)] == priorities


def test_additions_wait_removals_do_not() -> None:
    """Between push and ACK only what both have is named; a new pool is left to Envoy."""
    old = settings({"a": ["1", "2"], "gone": ["9"]})
    new = settings({"a": ["2", "3"], "fresh": ["4"]})
    assert addresses(without_additions(old, new)) == {"a": ["2"]}


def test_a_pool_that_shares_nothing_is_taken_as_it_is() -> None:
    """A pool without endpoints would be answered 503, which is worse than a name that Envoy does not know yet."""
    assert addresses(without_additions(settings({"a": ["1"]}), settings({"a": ["2"]}))) == {"a": ["2"]}


POOLS = st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("123456"), min_size=1, unique=True))


@given(POOLS, POOLS)
def test_never_an_empty_pool_never_a_removed_endpoint(
    before: dict[str, list[str]], after: dict[str, list[str]]
) -> None:
    """Whatever is edited: no pool is empty, nothing that was removed is named, nothing appears from nowhere."""
    found = addresses(without_additions(settings(before), settings(after)))
    for name, named in found.items():
        assert named
        assert set(named) <= set(after[name])
        assert name in before


def test_shares_hold_for_picks_as_well() -> None:
    """A place without a share is never named; endpoints of the others weigh what their place's share is."""
    text = POLICY.replace(
        "    picker: {strategy: least-request}\n",
        "    trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, "
        "distribute: [{from: '*', to: {a: 75, b: 25}}]}}}\n",
    ).replace("{address: 127.0.0.1:2}", "{address: 127.0.0.1:2, zone: b}, {address: 127.0.0.1:3, zone: c}")
    document = load(text, "policy.yaml").document
    assert document is not None
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), document.version).pools
    first, second, third = pool.endpoints
    assert (first.available, second.available, third.available) == (True, True, False)
    assert (first.priority, second.priority) == (0, 0)
    assert first.weight == 3 * second.weight


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("{}", KvEventSettings()),
        ("{port: 1, replayPort: 2, dataParallelSize: 3}", KvEventSettings(port=1, replay_port=2, ranks=3)),
        ("{portOffset: 1, replayPortOffset: 2}", KvEventSettings(port_offset=1, replay_port_offset=2)),
        ("{bind: '[::]:5557', topic: kv@}", KvEventSettings(bind="[::]:5557", topic="kv@")),
    ],
)
def test_where_engines_tell(said: str, settings: KvEventSettings) -> None:
    """As the policy says; without it nobody listens."""
    for text, expected in ((POLICY, None), (f"{POLICY}    kvEvents: {said}\n", settings)):
        document = load(text, "policy.yaml").document
        assert document is not None
        found = picker_settings(document.policy, static_fleet(document.policy), document.version)
        assert found.pools[0].kv_events == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{maxInFlight: 4}", AdmissionSettings(max_in_flight=4)),
        (
            "{maxPrefillTokens: 9, maxKvUsage: 90%, headroom: 25, maxWaiting: 3, maxWaitingTokens: 5, maxWait: 2s, "
            "waitHeader: x-w, tenantHeader: x-t, priorityHeader: x-p, defaultPriority: b, "
            "priorities: [{name: a, maxWait: 1s}, {name: b, kinds: [chat]}, {name: c, sheddable: true}]}",
            AdmissionSettings(
                max_prefill_tokens=9,
                max_kv_usage=0.9,
                headroom=0.25,
                max_waiting=3,
                max_waiting_tokens=5,
                priority_header="x-p",
                tenant_header="x-t",
                wait_header="x-w",
                priorities=(
                    PrioritySettings(name="a", max_wait_s=1.0),
                    PrioritySettings(name="b", kinds=frozenset({"chat"}), max_wait_s=2.0),
                    PrioritySettings(name="c", max_wait_s=0.0),
                ),
                usual_priority=1,
            ),
        ),
    ],
)
def test_admission(said: str, expected: AdmissionSettings) -> None:
    """As the policy says; without it nobody waits."""
    for text, settings in (
        (POLICY, None),
        (POLICY.replace("least-request}", f"random, admission: {said}}}"), expected),
    ):
        document = load(text, "policy.yaml").document
        assert document is not None
        found = picker_settings(document.policy, static_fleet(document.policy), document.version)
        assert found.pools[0].admission == settings


def test_shares_of_levels() -> None:
    """By priority, for the picker's own place alone, and none while nothing moves or moves at once."""
    text = POLICY.replace(
        "timeouts:", "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}\n    timeouts:"
    )
    found = load(text, "policy.yaml").document
    assert found is not None
    near, far = static_fleet(found.policy).pools["chat"]
    moved = Fleet(
        pools={
            "chat": (
                replace(near, shares=(Share("", "a", 30), Share("", "b", 1))),
                replace(far, shares=(Share("", "a", 70, "failover from a"),)),
            )
        }
    )
    (pool,) = picker_settings(found.policy, moved, "v", zone="a").pools
    assert [(each.priority, each.weight) for each in pool.endpoints] == [(0, 7), (1, 100)]
    assert pool.shares == (
        ShareSettings(priority=0, percent=30),
        ShareSettings(priority=1, percent=70, why="failover from a"),
    )
    assert pool.is_gradual
    assert picker_settings(found.policy, moved, "v", zone="c").pools[0].shares == ()
    assert not picker_settings(found.policy, moved, "v").pools[0].is_gradual
    assert picker_settings(found.policy, static_fleet(found.policy), "v", zone="a").pools[0].shares == ()
    off = load(text.replace("enabled: true", "enabled: true, shift: off"), "policy.yaml").document
    assert off is not None
    (pool,) = picker_settings(off.policy, moved, "v", zone="a").pools
    assert (pool.shares, pool.is_gradual) == ((), False)


def test_no_token_is_asked_for_of_no_model() -> None:
    """A pool that no model leads to has nothing to ask for."""
    text = (
        "kvpilot: v1\nlisteners: [{name: o, address: 127.0.0.1:8080, defaultPool: p}]\n"
        "models: [{name: m, pool: q}]\n"
        "pools: {p: {endpoints: [{address: 127.0.0.1:1}]}, q: {endpoints: [{address: 127.0.0.1:2}]}}\n"
    )
    document = load(text, "policy.yaml").document
    assert document is not None
    pools = picker_settings(document.policy, static_fleet(document.policy), "v").pools
    assert {pool.name: pool.health for pool in pools} == {
        "p": HealthSettings(),
        "q": HealthSettings(trial=TrialSettings()),
    }
