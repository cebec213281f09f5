"""What is wrong and where: a table of mistakes, each with the exact place and code of every finding."""

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, MINIMAL, document, places, with_pool

HEAD = "kvpilot: v1\nlisteners: [{name: openai, address: 127.0.0.1:8080}]\n"
POOLS = "pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}\n"
ENDPOINT = "endpoints: [{address: 10.0.0.1:8000}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1 KP105"]),
        ("# nothing\n\n", ["1:1 KP105"]),
        ("---\n...\n", ["1:1 KP105"]),
        ("~\n", ["1:1 KP105"]),
        (MINIMAL + "---\nkvpilot: v1\n", ["5:1 KP106"]),
        ("a: b: c\n", ["1:5 KP103"]),
        ("a: 'x\nb: c\n", ["1:4 KP103"]),
        ("a: [1, 2\n", ["1:1 KP201", "1:4 KP103"]),
        ("a:\n\t- b\n", ["2:1 KP104"]),
        ("\tkvpilot: v1\n", ["1:1 KP104"]),
        ("a: @x\n", ["1:4 KP103"]),
        ("a: b\x07\n", ["1:5 KP102"]),
        ("a: *b\n", ["1:4 KP110"]),
        ("a: &a [*a]\n", ["1:1 KP201", "1:8 KP110"]),
        (MINIMAL.replace("chat:", "? [chat] :", 1), ["3:30 KP301", "4:11 KP113"]),
        (MINIMAL.replace("llama,", "!!str llama,"), ["3:17 KP111"]),
        (MINIMAL + "<<: {}\n", ["5:1 KP112"]),
        ("just a text\n", ["1:1 KP204"]),
        ("- kvpilot\n", ["1:1 KP204"]),
    ],
)
def test_yaml(text: str, expected: list[str]) -> None:
    """What is not YAML, or YAML that a policy has no use for."""
    assert places(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL.replace("v1", "v2"), ["1:10 KP216"]),
        (MINIMAL.replace("kvpilot: v1\n", ""), ["1:1 KP203"]),
        (MINIMAL + "kvpilot: v1\n", ["5:1 KP202"]),
        (MINIMAL + "poools: {}\n", ["5:1 KP201"]),
        (MINIMAL + "rules: {}\n", ["5:8 KP204"]),
        (HEAD + POOLS, ["1:1 KP203"]),
        (HEAD + "models: []\n" + POOLS, ["3:9 KP213"]),
        (HEAD + "models: {}\n" + POOLS, ["3:9 KP204"]),
        (HEAD + "models:\n" + POOLS, ["3:8 KP205"]),
        (HEAD + "models: [{name: m, pool: chat}]\npools: {}\n", ["3:26 KP301", "4:8 KP213"]),
        (HEAD + "models: [{name: m, pool: chat}]\npools: []\n", ["3:26 KP301", "4:8 KP204"]),
        (HEAD + "models: [llama]\n" + POOLS, ["3:10 KP204"]),
    ],
)
def test_top_level(text: str, expected: list[str]) -> None:
    """The four keys of the document."""
    assert places(text) == expected


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        ("{address: 127.0.0.1:8080}", ["2:13 KP203"]),
        ("{name: openai}", ["2:13 KP203"]),
        ("{name: a b, address: 127.0.0.1:8080}", ["2:20 KP209"]),
        ("{name: a, address: 127.0.0.1}", ["2:32 KP211"]),
        ("{name: a, address: 127.0.0.1:0}", ["2:32 KP211"]),
        ("{name: a, address: 127.0.0.1:65536}", ["2:32 KP211"]),
        ("{name: a, address: localhost:80}", ["2:32 KP212"]),
        ("{name: a, address: '::1:8080'}", ["2:32 KP210"]),
        ("{name: a, address: 'unix:/run/x'}", ["2:32 KP210"]),
        ("{name: a, address: 127.0.0.1:80, maxRequestBytes: 16}", ["2:63 KP206"]),
        ("{name: a, address: 127.0.0.1:80, maxRequestBytes: 2GiB}", ["2:63 KP207"]),
        ("{name: a, address: 127.0.0.1:80, sessionHeader: x-kvpilot-id}", ["2:61 KP209"]),
        ("{name: a, address: 127.0.0.1:80, sessionHeader: 'a b'}", ["2:61 KP209"]),
        ("{name: a, address: 127.0.0.1:80, defaultPool: nowhere}", ["2:59 KP301"]),
        ("{name: a, address: 127.0.0.1:80, picker: {mode: three}}", ["2:61 KP208"]),
        ("{name: a, address: 127.0.0.1:80, picker: {modelFrom: picker}}", ["2:66 KP215"]),
        ("{name: a, address: 127.0.0.1:80, picker: {messageTimeout: 250}}", ["2:71 KP206"]),
        ("{name: a, address: 127.0.0.1:80}, {name: a, address: 127.0.0.1:81}", ["2:54 KP302"]),
        ("{name: a, address: 127.0.0.1:80}, {name: b, address: 127.0.0.1:80}", ["2:66 KP306"]),
    ],
)
def test_listeners(listener: str, expected: list[str]) -> None:
    """Names, addresses and how the picker is asked."""
    text = f"kvpilot: v1\nlisteners: [{listener}]\nmodels: [{{name: llama, pool: chat}}]\n{POOLS}"
    assert places(text) == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("{name: m}", ["3:10 KP203"]),
        ("{pool: chat}", ["3:10 KP203"]),
        ("{name: m, pool: chat, route: [{pool: chat}]}", ["3:32 KP214"]),
        ("{name: m, route: [{pool: chat}], pool: chat}", ["3:43 KP214"]),
        ("{name: m, pool: caht}", ["3:26 KP301"]),
        ("{name: m, route: []}", ["3:27 KP213"]),
        ("{name: m, route: [{pool: chat, weight: 0}]}", ["3:20 KP304"]),
        ("{name: m, route: [{pool: chat, weight: 4294967295}, {pool: b, weight: 1}]}", ["3:20 KP304", "3:69 KP301"]),
        ("{name: m, route: [{pool: chat, weight: 4294967296}]}", ["3:49 KP207"]),
        ("{name: m, route: [{pool: chat, weight: -1}]}", ["3:49 KP207"]),
        ("{name: m, route: [{pool: chat, weight: half}]}", ["3:49 KP206"]),
        ("{name: m, route: [{pool: chat}, {pool: chat}]}", ["3:49 KP307"]),
        ("{name: m, aliases: [m], pool: chat}", ["3:30 KP303"]),
        ("{name: m, aliases: [n, n], pool: chat}", ["3:33 KP303"]),
        ("{name: m, aliases: [n], pool: chat}, {name: n, pool: chat}", ["3:30 KP303"]),
        ("{name: m, aliases: [x], pool: chat}, {name: n, aliases: [x], pool: chat}", ["3:67 KP303"]),
        ("{name: m, aliases: x, pool: chat}", ["3:29 KP204"]),
        ("{name: m, pool: chat}, {name: m, pool: chat}", ["3:40 KP302"]),
        ("{name: 'm\\u0007', pool: chat}", ["3:17 KP209"]),
        ('{name: "m\\u001b[31m", pool: chat}', ["3:17 KP209"]),
        ("{name: mödel, pool: chat}", ["3:17 KP209"]),
        ("{name: m, pool: chat, mirror: {pool: chat}}", ["3:47 KP905"]),
        ("{name: m, pool: chat, fallback: [x]}", ["3:43 KP301"]),
    ],
)
def test_models(models: str, expected: list[str]) -> None:
    """Names, aliases and routes."""
    assert places(f"{HEAD}models: [{models}]\n{POOLS}") == expected


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("engine: vllm", ["6:5 KP203"]),
        ("endpoints: []", ["6:16 KP213"]),
        ("endpoints: 10.0.0.1:8000", ["6:16 KP204"]),
        ("endpoints: [10.0.0.1:8000]", ["6:17 KP204"]),
        ("endpoints: [{address: 10.0.0.1}]", ["6:27 KP211"]),
        ("endpoints: [{address: 10.0.0.1:x}]", ["6:27 KP211"]),
        ("endpoints: [{address: pod-0.llm:8000}]", ["6:27 KP212"]),
        ("endpoints: [{address: 10.0.0.256:8000}]", ["6:27 KP210"]),
        ("endpoints: [{address: 010.0.0.1:8000}]", ["6:27 KP210"]),
        ("endpoints: [{address: 0.0.0.0:8000}]", ["6:27 KP210"]),
        ("endpoints: [{address: 'http://10.0.0.1:8000'}]", ["6:27 KP210"]),
        ("endpoints: [{dns: pod}]", ["6:23 KP211"]),
        ("endpoints: [{address: 10.0.0.1:1}, {address: 10.0.0.1:1}]", ["6:50 KP305"]),
        ("endpoints: [{address: '[::1]:1'}, {address: '[0::1]:1'}]", ["6:49 KP305"]),
        ("endpoints: [{address: 10.0.0.1:1, weight: 0}]", ["6:47 KP207"]),
        ("endpoints: [{address: 10.0.0.1:1, weight: 1.5}]", ["6:47 KP206"]),
        ("endpoints: [{address: 10.0.0.1:1, weight: 4294967295}, {address: 10.0.0.2:1}]", ["6:5 KP304"]),
        ("endpoints: [{address: 10.0.0.1:1, weight: 4294967295}, {address: 10.0.0.2:1, weight: 1}]", ["6:5 KP304"]),
        ("endpoints: [{address: 10.0.0.1:1, weight: 4294967294}, {address: 10.0.0.2:1, weight: 1}]", []),
        ("endpoints: [{address: 10.0.0.1:1, zone: 'a b'}]", ["6:45 KP209"]),
        ("endpoints: [{address: 10.0.0.1:1, labels: [x]}]", ["6:47 KP204"]),
        ("endpoints: [{address: 10.0.0.1:1, labels: {x: }}]", ["6:51 KP205"]),
        (ENDPOINT + "engine: vlm", ["7:13 KP208"]),
        (ENDPOINT + "picker: {strategy: session}", []),
        (ENDPOINT + "picker: {strategy: fastest}", ["7:24 KP208"]),
        (ENDPOINT + "picker: {strategy: acme.cheapest}", ["7:24 KP318"]),
        (ENDPOINT + "picker: {strategy: Acme.Cheapest}", ["7:24 KP208"]),
        (ENDPOINT + "picker: {strategy: [session]}", ["7:24 KP204"]),
        (ENDPOINT + "picker: {parameters: {a: 1}}", ["7:14 KP902"]),
        (ENDPOINT + "picker: {checkPredictions: false}", []),
        (ENDPOINT + "picker: {checkPredictions: maybe}", ["7:32 KP206"]),
        (ENDPOINT + "picker: {shadow: round-robin}", []),
        (ENDPOINT + "picker: {shadow: kv-aware}", ["7:22 KP902"]),
        (ENDPOINT + "picker: {shadow: fastest}", ["7:22 KP208"]),
        (ENDPOINT + "picker: {shadow: acme.cheapest, parameters: {a: 1}}", ["7:22 KP318"]),
        (ENDPOINT + "picker: {shadow: queue-depth, queueDepth: {maximumDepth: 5}}", []),
        (ENDPOINT + "picker: {strategy: acme.cheapest, parameters: [1]}", ["7:51 KP204"]),
        (ENDPOINT + "picker: {strategy: weighted, weighted: {latencyLimit: 0s}}", ["7:59 KP207"]),
        (ENDPOINT + "picker: {strategy: weighted, weighted: {errorLimit: 0%}}", ["7:57 KP207"]),
        (ENDPOINT + "picker: {strategy: weighted, weighted: {errorLimit: 1%}}", []),
        (ENDPOINT + "picker: {strategy: queue-depth, queueDepth: {maximumDepth: 0}}", ["7:64 KP207"]),
        (ENDPOINT + "picker: {strategy: round-robin, queueDepth: {maximumDepth: 5}}", ["7:37 KP902"]),
        (ENDPOINT + "picker: {strategy: gpu-memory, gpuMemory: {maximumUsage: 0}}", ["7:62 KP207"]),
        (ENDPOINT + "picker: {strategy: session, session: {hashBalanceFactor: 99}}", ["7:62 KP207"]),
        (ENDPOINT + "picker: {strategy: session, session: {httpHeaderName: x-kvpilot-a}}", ["7:59 KP209"]),
        (ENDPOINT + "picker: {kvAware: {otherZoneCost: 5ms, failureCost: 0s, adapterLoad: 1s}}", []),
        (ENDPOINT + "picker: {strategy: random, shadow: kv-aware, kvAware: {failureCost: 1s}}", []),
        (ENDPOINT + "picker: {strategy: random, kvAware: {failureCost: 1s}}", ["7:32 KP902"]),
        (ENDPOINT + "picker: {kvAware: {otherZoneCost: 2h}}", ["7:39 KP207"]),
        (ENDPOINT + "picker: {kvAware: {failureCost: 10}}", ["7:37 KP206"]),
        (ENDPOINT + "picker: {kvAware: {sessionBound: -1s}}", ["7:38 KP206"]),
        (ENDPOINT + "picker: {kvAware: {sessionBound: 1s}, session: {httpCookieName: a}}", []),
        (ENDPOINT + "picker: {kvAware: {sessionBound: 0s}, session: {httpCookieName: a}}", ["7:43 KP902"]),
        (ENDPOINT + "picker: {kvAware: {sessionBound: 1s}, session: {hashBalanceFactor: 110}}", ["7:72 KP902"]),
        (
            ENDPOINT + "picker: {kvAware: {otherZoneCost: 1ms}}\n"
            "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}",
            ["7:39 KP902"],
        ),
        (ENDPOINT + "picker: {filters: [{labels: {a: b}}]}", ["7:25 KP902"]),
        (ENDPOINT + "picker: {filters: [{kinds: [chat]}]}", ["7:24 KP902"]),
        (ENDPOINT + "picker: {filters: [{adapterLoaded: true}]}", []),
        (ENDPOINT + "picker: {filters: [{modelLoaded: true}, {batch: {}}, {batch: {httpHeaderName: x-job}}]}", []),
        (ENDPOINT + "picker: {filters: [{modelLoaded: false}]}", ["7:24 KP902"]),
        (ENDPOINT + "picker: {filters: [{zone: a}]}", ["7:31 KP902"]),
        (ENDPOINT + "picker: {filters: [{batch: {maxInFlight: 0}}]}", ["7:46 KP207"]),
        (ENDPOINT + "picker: {filters: [{batch: {httpHeaderName: x-kvpilot-a}}]}", ["7:49 KP209"]),
        (ENDPOINT + "picker: {filters: [{kinds: [chats], adapterLoaded: true}]}", ["7:33 KP208"]),
        (
            ENDPOINT + "picker: {filters: [{minPromptTokens: 9, maxPromptTokens: 8, adapterLoaded: true}]}",
            ["7:62 KP317"],
        ),
        (ENDPOINT + "picker: {strategy: session, session: {useUser: true, httpCookieName: a}}", ["7:74 KP214"]),
        (ENDPOINT + "picker:", ["7:12 KP205"]),
        (ENDPOINT + "timeouts: {request: 5}", ["7:25 KP206"]),
        (ENDPOINT + "timeouts: {request: 12:30:00}", ["7:25 KP206"]),
        (ENDPOINT + "timeouts: {request: 0s}", ["7:25 KP207"]),
        (ENDPOINT + "timeouts: {firstByte: automatic}", ["7:27 KP206"]),
        (ENDPOINT + "timeouts: {request: 5s, request: 6s}", ["7:29 KP202"]),
        (ENDPOINT + "retries: {attempts: 11}", ["7:25 KP207"]),
        (ENDPOINT + "retries: {attempts: 0x2}", ["7:25 KP206"]),
        (ENDPOINT + "retries: {perTryTimeout: 5s}", ["7:15 KP215"]),
        (ENDPOINT + "retries: {retryOn: 'reset,5xy'}", ["7:24 KP208"]),
        (ENDPOINT + "retries: {retriableStatusCodes: 503}", ["7:37 KP204"]),
        (ENDPOINT + "retries: {retriableStatusCodes: [200]}", ["7:38 KP207"]),
        (ENDPOINT + "trafficPolicy: {outlierDetection: on}", ["7:39 KP204"]),
        (ENDPOINT + "trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}", ["7:60 KP207"]),
        (ENDPOINT + "trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}", ["7:40 KP215"]),
        (ENDPOINT + "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}", ["7:44 KP215"]),
    ],
)
def test_pools(pool: str, expected: list[str]) -> None:
    """Endpoints and what protects them."""
    assert places(with_pool(pool)) == expected


def _locality(settings: str) -> str:
    return with_pool(
        "endpoints: [{address: 10.0.0.1:1, zone: a}, {address: 10.0.0.2:1, zone: b}]\n"
        f"trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{settings}}}}}}}"
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("enabled: true, failover: [{from: a, to: b}]", []),
        ("enabled: yes", ["7:65 KP206"]),
        ("enabled: true, failover: [{from: a, to: a}]", ["7:96 KP308"]),
        ("enabled: true, failover: [{from: a, to: b}, {from: a, to: b}]", ["7:107 KP308"]),
        ("enabled: true, failover: [{from: c, to: b}, {from: c, to: a}]", []),
        ("enabled: true, failover: [{from: a}]", ["7:82 KP203"]),
        ("enabled: true, failover: [{from: a, to: c}]", ["7:96 KP903"]),
        ("failover: [{from: a, to: b}]", ["7:56 KP902"]),
    ],
)
def test_failover(settings: str, expected: list[str]) -> None:
    """Which place takes over for which."""
    assert places(_locality(settings)) == expected


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (ENDPOINT + "retries: {retryOn: reset, retriableStatusCodes: [503]}", ["7:31 KP902"]),
        (ENDPOINT + "timeouts: {request: 5s, firstByte: 5s}", ["7:40 KP902"]),
        (ENDPOINT + "  spare: {endpoints: [{address: 10.0.0.9:1}]}", None),
    ],
)
def test_warnings_leave_a_policy(pool: str, expected: list[str] | None) -> None:
    """What does nothing is said, and the policy works all the same."""
    if expected is None:
        text = with_pool(ENDPOINT) + "  spare: {endpoints: [{address: 10.0.0.9:1}]}\n"
        expected = ["7:3 KP901"]
    else:
        text = with_pool(pool)
    assert places(text) == expected
    assert load(text, FILE).document is not None


@pytest.mark.parametrize(
    "good",
    [
        "retries: {attempts: 0}",
        "retries: {attempts: '3'}",
        "timeouts: {request: 1h30m, firstByte: auto}",
        "trafficPolicy: {outlierDetection: off}",
        "trafficPolicy: {outlierDetection: {consecutiveGatewayErrors: off, maxEjectionPercent: 10%}}",
        "trafficPolicy: {outlierDetection: {}}",
        "engine: dynamo",
    ],
)
def test_good_pools(good: str) -> None:
    """What looks near to a mistake and is none."""
    assert places(with_pool(ENDPOINT + good)) == []


@pytest.mark.parametrize(
    "name", ["meta-llama/Llama-3-70B", "/models/llama", "ft:gpt-4o:org:x:id", "1.10", "on", "2026-11-21", "0x1F"]
)
def test_names_of_models(name: str) -> None:
    """Real names of models are taken as they are written, whatever YAML would read into them."""
    assert document(f"{HEAD}models: [{{name: {name}, pool: chat}}]\n{POOLS}").policy.models[0].name == name


def test_one_target_may_have_no_weight() -> None:
    """A canary that is taken out keeps its place in the route."""
    text = (
        f"{HEAD}models: [{{name: m, route: [{{pool: chat, weight: 9}}, {{pool: next, weight: 0}}]}}]\n"
        "pools: {chat: {endpoints: [{address: 10.0.0.1:1}]}, next: {endpoints: [{address: 10.0.0.2:1}]}}\n"
    )
    assert [target.weight for target in document(text).policy.models[0].route] == [9, 0]
