"""Rules between the values of a pool's traffic policy: each with its exact place."""

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, places, with_pool

ENDPOINTS = "endpoints: [{address: 10.0.0.1:1, region: r, zone: a}, {address: 10.0.0.2:1, region: r, zone: b}]\n"


def _found(settings: str) -> list[str]:
    """Findings of a pool with these settings in line 7."""
    return places(with_pool(ENDPOINTS + settings))


@pytest.mark.parametrize(
    ("load_balancer", "expected"),
    [
        ("{}", []),
        ("{simple: ROUND_ROBIN, warmup: {duration: 30s}}", []),
        ("{clientSideWeighted: {}, warmup: {duration: 30s}}", []),
        ("{consistentHash: {httpHeaderName: x-user}}", []),
        ("{simple: LEAST_CONN}", ["7:44 KP215"]),
        ("{simple: PASSTHROUGH}", ["7:44 KP215"]),
        ("{simple: FASTEST}", ["7:44 KP208"]),
        ("{simple: RANDOM, consistentHash: {useSourceIp: true}}", ["7:52 KP214"]),
        ("{consistentHash: {useSourceIp: true}, simple: RANDOM}", ["7:81 KP214"]),
        ("{simple: RANDOM, clientSideWeighted: {}}", ["7:52 KP214"]),
        ("{consistentHash: {}}", ["7:36 KP203"]),
        ("{consistentHash: {useSourceIp: false}}", ["7:36 KP203"]),
        ("{consistentHash: {httpHeaderName: a, useSourceIp: true}}", ["7:85 KP214"]),
        ("{consistentHash: {httpHeaderName: x-envoy-a}}", ["7:69 KP209"]),
        ("{consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}", ["7:84 KP214"]),
        ("{consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}", ["7:92 KP206"]),
        ("{consistentHash: {useSourceIp: true, minimumRingSize: 5}}", ["7:72 KP215"]),
        ("{consistentHash: {useSourceIp: true, hashBalanceFactor: 99}}", ["7:91 KP207"]),
        ("{consistentHash: {httpCookie: {ttl: 1h}}}", ["7:65 KP203"]),
        ("{warmup: {duration: 5s}, warmupDurationSecs: 5s}", ["7:60 KP214"]),
        # For picks there is slow start all the same.
        ("{simple: RANDOM, warmup: {duration: 5s}}", []),
        ("{consistentHash: {useSourceIp: true}, warmup: {duration: 5s}}", []),
        ("{warmup: {duration: 5s, aggression: 0}}", ["7:71 KP207"]),
        ("{clientSideWeighted: {weightUpdatePeriod: 50ms}}", ["7:77 KP207"]),
    ],
)
def test_load_balancer(load_balancer: str, expected: list[str]) -> None:
    """One way to choose, with one key, and nothing beside it that does nothing."""
    assert _found(f"trafficPolicy: {{loadBalancer: {load_balancer}}}") == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("enabled: true, distribute: [{from: '*', to: {r/a: 70, r/b: 30}}]", []),
        ("enabled: true, distribute: [{from: r/a, to: {r: 100}}, {from: r, to: {r/*: 100}}]", []),
        ("enabled: true, distribute: [{from: r, to: {r: 100}}, {from: r/a, to: {r: 100}}]", ["7:116 KP902"]),
        ("enabled: true, distribute: [{from: r, to: {r: 99}}]", ["7:94 KP316"]),
        ("enabled: true, distribute: [{from: r, to: {}}]", ["7:94 KP316"]),
        ("enabled: true, distribute: [{from: r, to: {r: 50, r/a: 50}}]", ["7:111 KP317"]),
        ("enabled: true, distribute: [{from: r, to: {r: 0}}]", ["7:102 KP207"]),
        ("enabled: true, distribute: [{from: r, to: {r: 90, s: 10}}]", ["7:109 KP903"]),
        ("enabled: true, distribute: [{from: 'r*', to: {r: 100}}]", ["7:91 KP209"]),
        ("enabled: true, distribute: [{to: {r: 100}}]", ["7:84 KP203"]),
        ("distribute: [{from: r, to: {r: 100}}]", ["7:56 KP902"]),
        ("overprovisioningFactor: 200", ["7:80 KP902"]),
        ("enabled: true, overprovisioningFactor: 99", ["7:95 KP207"]),
        ("enabled: true, failover: [{from: s, to: r}], distribute: [{from: r, to: {r: 100}}]", ["7:101 KP214"]),
        ("enabled: true, failoverPriority: [zone]", ["7:71 KP215"]),
        ("enabled: true, shift: {step: 10, every: 1s, minHealthy: 1, maxErrors: 0, spillAt: off}", []),
        ("enabled: true, shift: off", []),
        ("shift: off", []),
        ("shift: {step: 10}", ["7:56 KP902"]),
        ("enabled: true, distribute: [{from: r, to: {r: 100}}], shift: {step: 10}", ["7:110 KP902"]),
        ("enabled: true, shift: {step: 0}", ["7:85 KP207"]),
        ("enabled: true, shift: {spillAt: 5}", ["7:88 KP207"]),
        ("enabled: true, shift: {every: 10ms}", ["7:86 KP207"]),
    ],
)
def test_localities(settings: str, expected: list[str]) -> None:
    """Shares that add up to 100, once for each place, for places that there are."""
    assert _found(f"trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{settings}}}}}}}") == expected


def test_places_of_a_file_are_not_known() -> None:
    """Endpoints that a file lists may be anywhere, so no share is called useless."""
    text = with_pool(
        "endpoints: [{file: t.yaml}]\n"
        "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, distribute: [{from: r, to: {s: 100}}]}}}"
    )
    assert places(text) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("trafficPolicy: {outlierDetection: {maxEjectionTime: 29s}}", ["7:57 KP317"]),
        ("trafficPolicy: {outlierDetection: {maxEjectionTime: 30s}}", []),
        (
            "trafficPolicy: {outlierDetection: "
            "{splitExternalLocalOriginErrors: false, consecutiveLocalOriginFailures: 2}}",
            ["7:111 KP902"],
        ),
        ("trafficPolicy: {outlierDetection: {successRate: {stdevFactor: x}}}", ["7:67 KP206"]),
        ("trafficPolicy: {outlierDetection: {failurePercentage: off, successRate: {}}}", []),
        ("trafficPolicy: {connectionPool: {http: {maxRetries: 3, retryBudget: {}}}}", ["7:57 KP902"]),
        ("trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 3}}}", ["7:67 KP902"]),
        ("trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 3, h2UpgradePolicy: UPGRADE}}}", []),
        ("trafficPolicy: {connectionPool: {tcp: {maxConnections: 3, maxConnectionsPerEndpoint: 4}}}", ["7:90 KP902"]),
        ("trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 500ms}}}}", ["7:65 KP207"]),
        ("healthCheck: {}", ["7:5 KP203"]),
        ("healthCheck: {interval: 1s}", ["7:5 KP203"]),
        ("healthCheck: {tcp: {}, http: {}}", ["7:28 KP214"]),
        ("healthCheck: {grpc: {}}", ["7:19 KP317"]),
        (
            "healthCheck: {grpc: {}}\ntrafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}",
            [],
        ),
        ("healthCheck: {http: {expectedStatuses: [200-299, 700]}}", ["7:54 KP207"]),
        ("healthCheck: {http: {expectedStatuses: []}}", ["7:44 KP213"]),
        ("healthCheck: {http: {path: health}}", ["7:32 KP209"]),
        ("healthCheck: {http: {method: CONNECT}}", ["7:34 KP208"]),
        ("healthCheck: {http: {headers: {x-a: b, x-envoy-b: c}}}", ["7:44 KP209"]),
        ("healthCheck: {http: {headers: {x-a: b, Host: c}}}", ["7:50 KP317"]),
        ("healthCheck: {tcp: {}, unhealthyThreshold: 0}", ["7:48 KP207"]),
        ("healthCheck: [{tcp: {}}]", ["7:18 KP204"]),
        ("retries: {backoff: 5s, maxBackoff: 4s}", ["7:40 KP317"]),
        ("retries: {backoff: 0s}", ["7:24 KP207"]),
        ("retries: {retriableHeaders: [x-a]}", ["7:15 KP902"]),
        ("retries: {retriableHeaders: [x-a], retryOn: retriable-headers}", []),
        ("retries: {retryRemoteLocalities: true}", ["7:38 KP902"]),
        (
            "retries: {retryRemoteLocalities: true}\n"
            "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}",
            [],
        ),
        ("timeouts: {request: 5s, maxStreamDuration: 5s}", ["7:48 KP902"]),
        ("timeouts: {request: 5s, maxStreamDuration: 4s}", []),
    ],
)
def test_pools(settings: str, expected: list[str]) -> None:
    """Ejections, limits, checks, retries and timeouts."""
    assert _found(settings) == expected


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        (
            "healthCheck: {grpc: {}}",
            "a gRPC health check needs HTTP/2 towards the pool",
            "set `trafficPolicy.connectionPool.http.h2UpgradePolicy: UPGRADE`, or check by `http` or `tcp`",
        ),
        (
            "trafficPolicy: {loadBalancer: {consistentHash: {}}}",
            "`httpHeaderName`, `httpCookie`, `useSourceIp` or `httpQueryParameterName` is missing",
            "such as httpHeaderName: x-session-id",
        ),
        (
            "trafficPolicy: {loadBalancer: {simple: RANDOM, clientSideWeighted: {}}}",
            "`clientSideWeighted` beside `simple`: only one of them can hold",
            "keep the one that is meant",
        ),
    ],
)
def test_messages(settings: str, message: str, hint: str) -> None:
    """A finding says what is wrong in the file's own words and what to do."""
    found = load(with_pool(ENDPOINTS + settings), FILE).diagnostics
    assert [(one.message, one.hint) for one in found] == [(message, hint)]
