"""What a policy says about a pool, seen on a real Envoy without a picker: who gets requests, who does not, how many.

One Envoy with a model per pool; nearly all pools have the same three pods, so a test scripts them and asks its model.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.compile import Services, compile_snapshot, static_bootstrap
from control_plane.compile.capability import Capabilities, Feature
from control_plane.fleet.model import Fleet, Health, static_fleet
from control_plane.policy import load
from ext_proc.core.address import parse_address
from tests.conformance.envoy_lab import Envoy, LabPicker, lab_picker, running
from tests.conformance.raw_http import Pod, Received, Reply, http1
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PATH = "/v1/completions"
NOTHING: Mapping[str, str] = {}
ME = {"x-user": "me"}
WITHOUT_PICKER = Capabilities(frozenset(Feature) - {Feature.PICKER, Feature.ACCESS_LOG})
NO_EJECTION = "trafficPolicy: {outlierDetection: off}, retries: {attempts: 0}"
ALL = "[{address: A, zone: z1}, {address: B, zone: z2}, {address: C, zone: z3}]"

POOLS = {
    "ring": "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
    "maglev": "trafficPolicy: {loadBalancer: {consistentHash: "
    "{httpQueryParameterName: user, maglev: {tableSize: 251}}}}",
    "cookie": "trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: pod, ttl: 1h}}}}",
    "source": "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, hashBalanceFactor: 200}}}",
    "turns": "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}",
    "random": "trafficPolicy: {loadBalancer: {simple: RANDOM}}",
    "reported": "trafficPolicy: {loadBalancer: {clientSideWeighted: "
    "{metricNames: [named_metrics.kv], blackoutPeriod: 0s, weightUpdatePeriod: 100ms}}}",
    "reported-shares": "trafficPolicy: {loadBalancer: {clientSideWeighted: {}, localityLbSetting: {enabled: true, "
    "distribute: [{from: z1, to: {z1: 25, z2: 75}}]}}}",
    "shares": "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, "
    "distribute: [{from: z9, to: {z3: 100}}, {from: '*', to: {z1: 75, z2: 25}}]}}}",
    "warm": "healthCheck: {http: {}, interval: 20ms}, trafficPolicy: {outlierDetection: off, loadBalancer: "
    "{simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 1, aggression: 1}}}",
    "panic": "trafficPolicy: {outlierDetection: {minHealthPercent: 50}}, retries: {attempts: 0}",
    "no-panic": NO_EJECTION,
    "gateway": "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2}, "
    "loadBalancer: {simple: ROUND_ROBIN}}, retries: {attempts: 0}",
    "rates": "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, interval: 100ms, "
    "failurePercentage: {threshold: 50, minimumHosts: 1, requestVolume: 4}}, loadBalancer: {simple: ROUND_ROBIN}}, "
    "retries: {attempts: 0}",
    "success": "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, interval: 100ms, "
    "successRate: {minimumHosts: 2, requestVolume: 4, stdevFactor: 0.5}}, loadBalancer: {simple: ROUND_ROBIN}}, "
    "retries: {attempts: 0}",
    "refused": "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, consecutiveLocalOriginFailures: 2}, "
    "loadBalancer: {simple: ROUND_ROBIN}}, retries: {attempts: 0}",
    "one-request": "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}, retries: {attempts: 0}",
    "one-connection": "trafficPolicy: {connectionPool: {tcp: {maxConnectionsPerEndpoint: 1}}}",
    "two-per-connection": "trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 2}}}",
    "no-budget": "trafficPolicy: {outlierDetection: off, connectionPool: {http: {retryBudget: "
    "{percent: 0, minRetryConcurrency: 0}}}}, retries: {attempts: 2}",
    "other-host": "trafficPolicy: {outlierDetection: off, loadBalancer: {consistentHash: {httpHeaderName: x-user}}}, "
    "retries: {attempts: 1}",
    "same-host": "trafficPolicy: {outlierDetection: off, loadBalancer: {consistentHash: {httpHeaderName: x-user}}}, "
    "retries: {attempts: 1, retryIgnorePreviousHosts: false}",
    "by-header": "trafficPolicy: {outlierDetection: off}, "
    "retries: {attempts: 2, retryOn: retriable-headers, retriableHeaders: [X-Overloaded]}",
    "remote": "trafficPolicy: {outlierDetection: off, loadBalancer: {localityLbSetting: {enabled: true}}}, "
    "retries: {attempts: 1, retryRemoteLocalities: true}",
    "local": "trafficPolicy: {outlierDetection: off, loadBalancer: {localityLbSetting: {enabled: true}}}, "
    "retries: {attempts: 1}",
    "tight": "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, overprovisioningFactor: 100}}}",
    "roomy": "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, overprovisioningFactor: 1000}}}",
    "checked": "healthCheck: {http: {path: /ready, host: 'pods.example:80', method: HEAD, expectedStatuses: [204], "
    'headers: {x-check: "100% mine"}}, interval: 20ms, unhealthyThreshold: 2, healthyThreshold: 1}, '
    "trafficPolicy: {outlierDetection: off}",
    "checked-elsewhere": "healthCheck: {tcp: {}, port: DEAD, interval: 20ms}, " + NO_EJECTION,
    "grpc": "healthCheck: {grpc: {serviceName: x}, interval: 20ms}, trafficPolicy: "
    "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 10}}}",
    "short": "timeouts: {maxStreamDuration: 300ms}, " + NO_EJECTION,
}
"""Pool, and model of the same name → what the policy says about it."""

ENDPOINTS = {
    "turns": "[{address: A, weight: 300}, {address: B, weight: 100}]",
    "refused": "[{address: '127.0.0.1:DEAD'}, {address: A}, {address: B}]",
    "one-request": "[{address: A}]",
    "one-connection": "[{address: A}]",
    "two-per-connection": "[{address: A}]",
    "tight": "[{address: A, zone: z1}, {address: B, zone: z1}, {address: C, zone: z2}]",
    "roomy": "[{address: A, zone: z1}, {address: B, zone: z1}, {address: C, zone: z2}]",
    "grpc": "[{address: GRPC}]",
}
"""Pools whose endpoints are not all three pods, each in a zone of its own."""

HEAD_START_S = 4.0
"""By how much two pods are older than the third when it begins to warm up: four times its share, then."""

UNHEALTHY = {"panic": "ABC", "no-panic": "ABC", "tight": "B", "roomy": "B"}
"""Endpoints that discovery calls unhealthy."""


@dataclass
class Engine(Pod):
    """A pod with a health page. Mutable: what tests set, when it was `asked`, requests `at_once` and their `most`."""

    health: int = 200
    asked: list[Received] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        if request.path in ("/health", "/ready"):
            self.received.remove(request)
            self.asked.append(request)
            status = 204 if request.path == "/ready" and self.health == 200 else self.health
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            return True
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            return await super()._answer(request, writer)
        finally:
            self.at_once -= 1


@dataclass
class Lab:
    """Three pods, an Envoy in zone z1, and the address of its listener."""

    pods: dict[str, Engine]
    envoy: Envoy
    listener: str
    started: float = field(default_factory=time.monotonic)

    async def ask(
        self, model: str, headers: Mapping[str, str] = NOTHING, *, query: str = "", stream: bool = False
    ) -> Reply:
        """The answer to one request for `model`."""
        body = json.dumps({"model": model, "prompt": "hi", "stream": stream}).encode()
        sent = {"content-type": "application/json", **headers}
        return await http1(self.listener, PATH + query, body, headers=sent)

    async def served(self, count: int, model: str, headers: Mapping[str, str] = NOTHING) -> Counter[str]:
        """How often each pod got one of `count` requests, one after the other, whatever it answered."""
        for pod in self.pods.values():
            pod.received.clear()
        for _ in range(count):
            await self.ask(model, headers)
        return Counter({name: len(pod.received) for name, pod in self.pods.items() if pod.received})

    def pod_of(self, reply: Reply) -> str:
        """Which pod an answer comes from."""
        return next(name for name, pod in self.pods.items() if pod.address == reply.json["pod"])


def policy_text(pods: dict[str, Engine], grpc: str, listen: int, dead: int) -> str:
    """The policy, with the addresses filled in."""
    lines = ["kvpilot: v1", f"listeners: [{{name: lab, address: '127.0.0.1:{listen}'}}]", "models:"]
    lines += [f"  - {{name: {pool}, pool: {pool}}}" for pool in POOLS]
    lines += ["  - {name: split, route: [{pool: other-host, weight: 1}, {pool: same-host, weight: 1}]}"]
    lines += ["pools:"]
    for pool, settings in POOLS.items():
        endpoints = ENDPOINTS.get(pool, ALL)
        for name, address in (*((name, pod.address) for name, pod in pods.items()), ("GRPC", grpc)):
            endpoints = endpoints.replace(f"address: {name},", f"address: '{address}',")
            endpoints = endpoints.replace(f"address: {name}}}", f"address: '{address}'}}")
        lines.append(f"  {pool}: {{endpoints: {endpoints}, {settings}}}".replace("DEAD", str(dead)))
    return "\n".join(lines) + "\n"


def fleet_of(fleet: Fleet, pods: dict[str, Engine]) -> Fleet:
    """The policy's fleet, with some endpoints unhealthy."""
    sick = {(pool, pods[name].address) for pool, names in UNHEALTHY.items() for name in names}
    pools = {
        pool: tuple(
            replace(each, health=Health.UNHEALTHY) if (pool, each.address) in sick else each for each in endpoints
        )
        for pool, endpoints in fleet.pools.items()
    }
    return Fleet(pools=pools)


@asynccontextmanager
async def new_lab(directory: Path) -> AsyncIterator[Lab]:
    """A lab that runs as long as the block; pod C is not healthy at first."""
    pods = {"A": Engine(), "B": Engine(), "C": Engine(health=500)}
    grpc: LabPicker = lab_picker()
    async with running(*pods.values(), grpc):
        listen, dead = free_ports(2)
        result = load(policy_text(pods, grpc.address, listen, dead), "lab.yaml")
        assert result.document is not None, result.diagnostics
        assert result.diagnostics == ()
        policy = result.document.policy
        services = Services(ext_proc=parse_address(grpc.address))
        fleet = fleet_of(static_fleet(policy), pods)
        compiled = compile_snapshot(policy, fleet, services, WITHOUT_PICKER, region="", zone="z1")
        envoy = Envoy(directory, static_bootstrap(compiled))
        async with running(envoy):
            yield Lab(pods, envoy, f"127.0.0.1:{listen}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One Envoy for all tests; each pool belongs to one of them."""
    async with new_lab(tmp_path_factory.mktemp("envoy")) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab, with pods as they were."""
    yield shared_lab
    for name, pod in shared_lab.pods.items():
        pod.behaviour, pod.extra_headers, pod.plain_delay_s, pod.hold = "json", "", 0.0, None
        pod.health, pod.most = 500 if name == "C" else 200, 0


# --- load balancing ---


async def test_a_key_stays_with_its_pod(lab: Lab) -> None:
    """On the ring and in the table a key always meets the same pod, and keys spread over pods."""
    for model in ("ring", "maglev"):
        pods: dict[str, set[str]] = {}
        for user in [f"u{number}" for number in range(12)] * 2:
            reply = await lab.ask(model, {"x-user": user}, query=f"?user={user}")
            pods.setdefault(user, set()).add(lab.pod_of(reply))
        assert all(len(found) == 1 for found in pods.values()), model
        assert len(set.union(*pods.values())) > 1, model


async def test_a_key_holds_in_a_split_as_well(lab: Lab) -> None:
    """The session decides which pool of a canary, the pool's own key which pod: both pools hash the same user alike."""
    pods = {lab.pod_of(await lab.ask("split", {**ME, "x-session-id": f"s{number}"})) for number in range(16)}
    assert len(pods) == 1
    stats = await lab.envoy.stats("cluster.pool/(other-host|same-host).upstream_rq_completed")
    assert all(count > 0 for count in stats.values())


async def test_a_cookie_is_made_and_kept(lab: Lab) -> None:
    """A client without the cookie gets one that leads it to the same pod from then on."""
    first = await lab.ask("cookie")
    cookie = first.headers["set-cookie"]
    assert "Max-Age=3600" in cookie
    assert "Path=/" in cookie
    value = cookie.split(";")[0]
    replies = [await lab.ask("cookie", {"cookie": value}) for _ in range(6)]
    assert {lab.pod_of(reply) for reply in replies} == {lab.pod_of(first)}


async def test_a_client_address_stays_with_its_pod(lab: Lab) -> None:
    """All requests come from one address, so one pod gets them."""
    assert len(await lab.served(8, "source")) == 1


async def test_round_robin_by_weight(lab: Lab) -> None:
    """Three to one, exactly."""
    assert await lab.served(8, "turns") == {"A": 6, "B": 2}


async def test_random_uses_all(lab: Lab) -> None:
    """Every pod is drawn at some time."""
    assert set(await lab.served(60, "random")) == {"A", "B", "C"}


async def test_reported_load_decides(lab: Lab) -> None:
    """The pod that says it is nearly idle gets most; the weights come from a metric that the policy names."""
    for name, load_now in (("A", 0.9), ("B", 0.1), ("C", 0.9)):
        lab.pods[name].extra_headers = f"endpoint-load-metrics: TEXT rps_fractional=100,named_metrics.kv={load_now}\r\n"

    async def is_followed() -> bool:
        found = await lab.served(22, "reported")
        return found["B"] >= 4 * max(found["A"], found["C"])

    async with asyncio.timeout(10):
        while not await is_followed():
            await asyncio.sleep(0.05)


async def test_shares_of_places(lab: Lab) -> None:
    """Each place gets its share, whichever policy chooses within it; a place without a share gets nothing."""
    for model, expected in (("shares", {"A": 30, "B": 10}), ("reported-shares", {"A": 10, "B": 30})):
        found = await lab.served(40, model)
        assert set(found) == {"A", "B"}
        assert abs(found["A"] - expected["A"]) <= 2, found  # the turns begin anywhere


async def test_a_pod_that_came_back_starts_slowly(lab: Lab) -> None:
    """What has just become healthy gets a smaller share than what has been there for a while."""
    assert "C" not in await lab.served(8, "warm")
    # Envoy counts whole seconds of its own clock: the others need a start of some, however quick the tests before were.
    await asyncio.sleep(max(0.0, lab.started + HEAD_START_S - time.monotonic()))
    lab.pods["C"].health = 200
    async with asyncio.timeout(10):
        while lab.pod_of(await lab.ask("warm")) != "C":
            pass
    assert (await lab.served(40, "warm"))["C"] <= 8  # a third without the slow start


# --- places and panic ---


async def test_panic_only_where_it_is_asked_for(lab: Lab) -> None:
    """With all pods unhealthy one pool uses all of them, the other none."""
    assert {(await lab.ask("panic")).status for _ in range(4)} == {200}
    reply = await lab.ask("no-panic")
    assert (reply.status, reply.error["code"]) == (503, "service_unavailable")


async def test_how_much_of_a_place_may_be_lost(lab: Lab) -> None:
    """With half of the own place gone: at 100 half of the requests leave it, at 1000 none."""
    tight = await lab.served(60, "tight")
    assert 15 <= tight["C"] <= 45
    assert await lab.served(20, "roomy") == {"A": 20}


# --- ejections ---


async def ejected(lab: Lab, model: str) -> int:
    """How many endpoints of a pool are ejected now."""
    stats = await lab.envoy.stats(f"cluster.pool/{model}.outlier_detection.ejections_active")
    (value,) = stats.values()
    return value


async def test_gateway_errors_eject(lab: Lab) -> None:
    """Two in a row take the pod out although 5xx as such do not count."""
    lab.pods["B"].behaviour = "503"
    await lab.served(6, "gateway")
    assert await ejected(lab, "gateway") == 1
    assert set(await lab.served(8, "gateway")) == {"A", "C"}


@pytest.mark.parametrize("model", ["rates", "success"])
async def test_bad_rates_eject(lab: Lab, model: str) -> None:
    """A pod that fails much more often than allowed, or than the others, is out at the end of an interval."""
    lab.pods["B"].behaviour = "503"
    async with asyncio.timeout(10):
        while not await ejected(lab, model):
            await lab.served(15, model)
    assert set(await lab.served(8, model)) == {"A", "C"}


async def test_refused_connections_eject(lab: Lab) -> None:
    """They are counted apart, so answers of a pod do not hide them."""
    statuses = Counter([(await lab.ask("refused")).status for _ in range(6)])
    assert statuses == {503: 2, 200: 4}

    async def is_ejected() -> bool:
        return await ejected(lab, "refused") == 1

    await eventually(is_ejected, "the ejection")
    # It is made in Envoy's main thread; the one that serves requests hears of it a moment later.
    late = Counter([(await lab.ask("refused")).status for _ in range(9)])
    assert late[503] <= 1
    assert late[200] == 9 - late[503]


# --- limits ---


async def test_too_many_requests_at_once(lab: Lab) -> None:
    """The second of two at once is answered 503 in OpenAI's shape, with a hint when to come again."""
    hold = lab.pods["A"].hold = asyncio.Event()
    both = {asyncio.create_task(lab.ask("one-request")) for _ in range(2)}
    (early,), (late,) = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    hold.set()
    refused, fine = early.result(), await late
    assert (fine.status, refused.status, refused.error["code"]) == (200, 503, "service_unavailable")
    assert refused.headers["retry-after"] == "1"


async def test_one_connection_per_endpoint(lab: Lab) -> None:
    """Requests beyond it wait for one another, and all are served."""
    lab.pods["A"].plain_delay_s = 0.05
    replies = await asyncio.gather(*(lab.ask("one-connection") for _ in range(4)))
    assert [reply.status for reply in replies] == [200] * 4
    assert lab.pods["A"].most == 1


async def test_connections_end_after_some_requests(lab: Lab) -> None:
    """Four requests, two per connection."""
    await lab.served(4, "two-per-connection")
    stats = await lab.envoy.stats("cluster.pool/two-per-connection.upstream_cx_(total|max_requests)")
    assert set(stats.values()) == {2}


async def test_a_spent_budget_allows_no_retry(lab: Lab) -> None:
    """Without it each of these would have been tried three times."""
    for pod in lab.pods.values():
        pod.behaviour = "503"
    assert sum((await lab.served(6, "no-budget")).values()) == 6


# --- retries ---


async def test_a_retry_avoids_the_pod_that_failed(lab: Lab) -> None:
    """A key leads to one pod, and its retry to another one; unless the policy says that it need not."""
    owner = lab.pod_of(await lab.ask("other-host", ME))
    lab.pods[owner].behaviour = "503"
    found = await lab.served(3, "other-host", ME)
    assert found.pop(owner) == 3
    assert sum(found.values()) == 3
    assert await lab.served(3, "same-host", ME) == {owner: 6}


async def test_a_header_makes_an_answer_worth_a_retry(lab: Lab) -> None:
    """A 200 that says it is overloaded is tried elsewhere."""
    lab.pods["A"].extra_headers = lab.pods["B"].extra_headers = "x-overloaded: yes\r\n"
    for _ in range(6):
        assert lab.pod_of(await lab.ask("by-header")) == "C"


async def test_a_retry_may_leave_its_place(lab: Lab) -> None:
    """The only pod of the own zone fails: the retry goes to another zone only where it may."""
    lab.pods["A"].behaviour = "503"
    assert {(await lab.ask("remote")).status for _ in range(4)} == {200}
    assert {(await lab.ask("local")).status for _ in range(4)} == {503}


# --- health checks ---


async def test_checks_ask_what_the_policy_says(lab: Lab) -> None:
    """Path, host, method and headers are those of the policy."""
    await eventually(lambda: any(asked.path == "/ready" for asked in lab.pods["A"].asked), "a check")
    asked = next(asked for asked in lab.pods["A"].asked if asked.path == "/ready")
    assert (asked.method, asked.headers["host"], asked.headers["x-check"]) == ("HEAD", "pods.example:80", "100% mine")


async def test_checks_take_a_pod_out_and_bring_it_back(lab: Lab) -> None:
    """Only the expected status is healthy; who fails gets nothing, who recovers gets its share again."""
    assert set(await lab.served(20, "checked")) == {"A", "B"}
    lab.pods["C"].health = 200
    async with asyncio.timeout(10):
        while "C" not in await lab.served(12, "checked"):
            pass
    lab.pods["A"].health = 201  # fine for HTTP, and not what the policy expects
    async with asyncio.timeout(10):
        while "A" in await lab.served(12, "checked"):
            pass


async def test_another_port_is_checked(lab: Lab) -> None:
    """Nobody listens on the checked port, so all pods are out although they would answer."""
    assert (await lab.ask("checked-elsewhere")).status == 503


async def test_grpc_checks_and_http2(lab: Lab) -> None:
    """A gRPC server passes its check, and requests to it go over HTTP/2."""
    stats = await lab.envoy.stats("cluster.pool/grpc.membership_healthy")
    assert list(stats.values()) == [1]
    await lab.ask("grpc")
    stats = await lab.envoy.stats("cluster.pool/grpc.upstream_cx_http2_total")
    assert list(stats.values()) == [1]


# --- time ---


async def test_streams_have_a_longest_duration(lab: Lab) -> None:
    """An answer that has not begun by then is a timeout in OpenAI's shape, one that has is cut off."""
    for pod in lab.pods.values():
        pod.behaviour = "hang"
    begun = time.monotonic()
    reply = await lab.ask("short")
    assert 0.2 < time.monotonic() - begun < 5.0
    assert (reply.status, reply.error["code"]) == (504, "timeout")
    for pod in lab.pods.values():
        pod.behaviour = "stall"
    with pytest.raises((asyncio.IncompleteReadError, ValueError)):
        await lab.ask("short", stream=True)
