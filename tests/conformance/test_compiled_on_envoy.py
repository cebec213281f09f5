"""What is compiled, on a real Envoy: routes, filter chain, retries, errors, logs, with and without a picker."""

import asyncio
import base64
import itertools
import json
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from control_plane.cli import quoted_yaml
from control_plane.cli.envoy_files import bootstrap_template
from control_plane.compile import (
    KVPILOT_CLUSTER,
    Compiled,
    Node,
    Services,
    bootstrap,
    capabilities,
    compile_snapshot,
    static_bootstrap,
)
from control_plane.compile.bootstrap import AdsVariant
from control_plane.fleet.model import Fleet, Health, static_fleet
from control_plane.policy.model import (
    Listener,
    ListenerPicker,
    Model,
    Policy,
    Pool,
    Retries,
    RouteTarget,
    StaticEndpoint,
    Timeouts,
    TrafficPolicy,
)
from control_plane.sidecar.envoy_process import find_envoy
from ext_proc.core.address import SocketAddress, parse_address
from tests.conformance.envoy_lab import (
    Answer,
    Envoy,
    LabPicker,
    Seen,
    lab_picker,
    pick,
    running,
)
from tests.conformance.raw_http import Pod, Reply, http1, http2, raw
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

JSON = {"content-type": "application/json"}
PATH = "/v1/completions"
MIB = 1024 * 1024
MAX_REQUEST_BYTES = 4 * MIB
IDLE_S = 0.8
"""Of pool `idle` alone: a busy machine must not end the streams of other tests."""
FIRST_BYTE_MS = 1_000
"""For pods that hang; the pod that is tried next has to answer within it, too, however busy the machine is."""
MODES = ("one-message", "two-message")


def body_for(model: str = "m-a", **fields: object) -> bytes:
    """A completion request."""
    return json.dumps({"model": model, "prompt": "hi", **fields}).encode()


def prompt_of(size: int) -> bytes:
    """A completion request with a prompt of `size` bytes."""
    return body_for(prompt="x" * size)


_numbers = itertools.count()


def new_decision() -> str:
    """An id that no other test has: records of a test before may still arrive."""
    return f"d-{next(_numbers)}"


def local(port: int) -> SocketAddress:
    """A port on this machine."""
    return SocketAddress("127.0.0.1", port)


def policy_for(
    first: Pod, second: Pod, other: Pod, dead: str, ports: list[int], message_timeout_s: float = 10.0
) -> Policy:
    """Two listeners, one per mode; pool a of two pods, b of one that is never retried, d with a dead pod in it."""
    timeouts = Timeouts(request_s=20.0, idle_s=20.0)
    calm = TrafficPolicy(outlier_detection=None)
    retries = Retries(attempts=2)
    return Policy(
        listeners=tuple(
            Listener(
                name=mode,
                address=local(port),
                max_request_bytes=MAX_REQUEST_BYTES,
                default_pool="a",
                picker=ListenerPicker(mode=mode, message_timeout_s=message_timeout_s, explain="always"),
            )
            for mode, port in zip(MODES, ports, strict=True)
        ),
        models=(
            Model(name="m-a", aliases=("gpt-4",), route=(RouteTarget(pool="a"),)),
            Model(name="m-b", route=(RouteTarget(pool="b.1"),)),
            Model(name="m-d", route=(RouteTarget(pool="d"),)),
            Model(name="m-idle", route=(RouteTarget(pool="idle"),)),
            Model(name="m-split", route=(RouteTarget(pool="a", weight=50), RouteTarget(pool="b.1", weight=50))),
        ),
        pools=(
            Pool(
                name="a",
                endpoints=(StaticEndpoint(address=first.address), StaticEndpoint(address=second.address)),
                retries=retries,
                timeouts=timeouts,
                traffic_policy=calm,
            ),
            Pool(
                name="b.1",
                endpoints=(StaticEndpoint(address=other.address),),
                retries=Retries(attempts=0),
                timeouts=timeouts,
                traffic_policy=calm,
            ),
            Pool(
                name="idle",
                endpoints=(StaticEndpoint(address=first.address),),
                retries=retries,
                timeouts=replace(timeouts, idle_s=IDLE_S),
                traffic_policy=calm,
            ),
            Pool(
                name="d",
                endpoints=(StaticEndpoint(address=dead), StaticEndpoint(address=first.address)),
                retries=retries,
                timeouts=timeouts,
                traffic_policy=calm,
            ),
        ),
    )


def compiled_for(policy: Policy, picker: str, fleet: Fleet | None = None, node: Node | None = None) -> Compiled:
    """`policy` for an Envoy of the version under test."""
    wanted = capabilities(node or Node(id="lab", version=(1, 40, 0)))
    services = Services(ext_proc=parse_address(picker))
    return compile_snapshot(policy, fleet or static_fleet(policy), services, wanted, region="", zone="")


@dataclass
class Lab:
    """Everything that runs, and where."""

    first: Pod
    second: Pod
    other: Pod
    dead: str
    picker: LabPicker
    envoy: Envoy
    listeners: dict[str, str]

    @property
    def pods(self) -> tuple[Pod, Pod, Pod]:
        """All pods that live."""
        return self.first, self.second, self.other

    def reset(self) -> None:
        """Pods that answer, a picker that says nothing, nothing seen."""
        for pod in self.pods:
            pod.behaviour, pod.extra_headers, pod.padding, pod.plain_delay_s = "json", "", 0, 0.0
            pod.received.clear()
        self.picker.answer = lambda seen: {}
        self.picker.hung = False
        self.picker.streams.clear()
        self.picker.logs.clear()

    def named(self, *pods: Pod | str, decision: str = "d-1", first_byte_ms: int | None = None) -> None:
        """The picker names `pods` from now on."""
        addresses = [pod if isinstance(pod, str) else pod.address for pod in pods]
        self.picker.answer = lambda seen: pick(*addresses, decision=decision, first_byte_ms=first_byte_ms)

    def logged(self, log: str, decision: str, kind: str) -> list[dict[str, Any]]:
        """Access log records of one decision."""
        return [
            entry
            for entry in self.picker.logs
            if entry["log"] == log
            and entry["commonProperties"].get("customTags", {}).get("decision") == decision
            and entry["commonProperties"]["accessLogType"] == kind
        ]


async def new_lab(
    directory: Path,
    make_fleet: Callable[[Policy], Fleet] = static_fleet,
    *,
    message_timeout_s: float = 10.0,
    health_checks: bool = False,
) -> AsyncIterator[Lab]:
    """A lab that runs until the generator ends.

    Unless a test is about a slow picker, Envoy waits long for it and does not check it: a busy machine is no dead one.
    """
    pods = (Pod(), Pod(), Pod())
    picker = lab_picker()
    dead, own, *ports = free_ports(4)
    picker.address = f"127.0.0.1:{own}"  # one that nobody else gets while a test has it stopped
    async with running(*pods, picker):
        policy = policy_for(*pods, f"127.0.0.1:{dead}", ports, message_timeout_s)
        compiled = compiled_for(policy, picker.address, make_fleet(policy))
        if not health_checks:
            del compiled.clusters[KVPILOT_CLUSTER]["healthChecks"]
        envoy = Envoy(directory, static_bootstrap(compiled))
        async with running(envoy):
            listeners = {mode: f"127.0.0.1:{port}" for mode, port in zip(MODES, ports, strict=True)}
            yield Lab(*pods, f"127.0.0.1:{dead}", picker, envoy, listeners)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One Envoy for all tests that leave it as it was."""
    async for lab in new_lab(tmp_path_factory.mktemp("envoy")):
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """The shared lab, as new."""
    shared_lab.reset()
    return shared_lab


@pytest.fixture(params=MODES)
def listener(request: pytest.FixtureRequest, lab: Lab) -> str:
    """The listener's address, for each picker mode in turn."""
    return lab.listeners[request.param]


def mode_of(lab: Lab, listener: str) -> str:
    """The picker mode of a listener."""
    return next(mode for mode, address in lab.listeners.items() if address == listener)


# --- picks ---


async def test_named_pod_serves_and_is_told_to_the_client(lab: Lab, listener: str) -> None:
    """The first named pod gets every request, and the client learns the pod and the decision."""
    lab.named(lab.second, lab.first, decision="d-7")
    for _ in range(4):
        reply = await http1(listener, PATH, body_for(), headers=JSON)
        assert reply.status == 200
        assert reply.headers["x-kvpilot-pod"] == lab.second.address
        assert reply.headers["x-kvpilot-decision"] == "d-7"
    assert not lab.first.received
    assert {request.headers["x-kvpilot-decision"] for request in lab.second.received} == {"d-7"}


async def test_picker_is_asked_in_as_many_messages_as_the_mode_says(lab: Lab, listener: str) -> None:
    """One message each way per request, two in the documented shape, by the picker's count and by Envoy's."""
    mode = mode_of(lab, listener)
    expected = {"one-message": ["request_body"], "two-message": ["request_headers", "request_body"]}[mode]
    before = await lab.envoy.stats(f"http.{mode}.ext_proc.stream_msgs")
    for _ in range(3):
        await http1(listener, PATH, body_for(), headers=JSON)
    after = await lab.envoy.stats(f"http.{mode}.ext_proc.stream_msgs")
    assert [seen.kinds for seen in lab.picker.streams] == [expected] * 3
    assert {after[name] - before[name] for name in after} == {3 * len(expected)}


async def test_picker_learns_what_envoy_decided(lab: Lab, listener: str) -> None:
    """Body, route, cluster, path, session and content type come as attributes of the first message."""
    headers = {**JSON, "x-session-id": "s-1", "x-request-id": "mine"}
    await http1(listener, f"{PATH}?a=b", body_for("gpt-4"), headers=headers)
    (seen,) = lab.picker.streams
    assert seen.body == body_for("gpt-4")
    assert seen.attributes == {
        "xds.route_name": "model/m-a",
        "xds.cluster_name": "pool/a",
        "request.path": f"{PATH}?a=b",
        "request.method": "POST",
        "request.headers['x-session-id']": "s-1",
        "request.headers['content-type']": "application/json",
        "request.id": "mine",
    }


async def test_rewritten_body_reaches_the_pod_whole(lab: Lab, listener: str) -> None:
    """A body that the picker replaced arrives with a content-length that fits."""
    new = body_for("m-a", note="a longer body than the one that came")

    def answer(seen: Seen) -> Answer:
        common: Answer = {"bodyMutation": {"body": base64.b64encode(new).decode()}}
        if "request_headers" in seen.kinds:
            length = base64.b64encode(str(len(new)).encode()).decode()
            common["headerMutation"] = {"setHeaders": [{"header": {"key": "content-length", "rawValue": length}}]}
        return {**pick(lab.first.address), "requestBody": {"response": common}}

    lab.picker.answer = answer
    reply = await http1(listener, PATH, body_for("gpt-4"), headers=JSON)
    assert reply.status == 200
    assert lab.first.received[0].body == new


async def test_next_named_pod_is_tried(lab: Lab, listener: str) -> None:
    """A pod that refuses, resets, is full or stays silent past its limit is followed by the next one named."""
    lab.named(lab.dead, lab.first)
    reply = await http1(listener, PATH, body_for("m-d"), headers=JSON)
    assert (reply.status, reply.headers["x-kvpilot-pod"]) == (200, lab.first.address)
    for behaviour in ("503", "reset", "hang"):
        lab.second.behaviour = behaviour
        lab.named(lab.second, lab.first, first_byte_ms=FIRST_BYTE_MS if behaviour == "hang" else None)
        for body in (body_for(), prompt_of(3 * MIB)):
            lab.second.received.clear()
            reply = await http1(listener, PATH, body, headers=JSON)
            assert (reply.status, reply.headers["x-kvpilot-pod"]) == (200, lab.first.address), behaviour
            assert len(lab.second.received) == 1
            assert lab.first.received[-1].body == body


_REFUSAL = (("content-type", b"application/json"), ("retry-after", b"7"))


async def test_refused_by_the_picker(lab: Lab, listener: str) -> None:
    """The picker's own errors reach the client as they are, also with a status that Envoy uses itself."""
    for status in (400, 429, 503):
        headers = [{"header": {"key": key, "rawValue": base64.b64encode(value).decode()}} for key, value in _REFUSAL]
        body = base64.b64encode(b'{"error":{"message":"mine"}}').decode()
        immediate = {"status": {"code": status}, "headers": {"setHeaders": headers}, "body": body}
        lab.picker.answer = lambda seen, answer=immediate: {"immediateResponse": answer}  # type: ignore[misc]
        reply = await http1(listener, PATH, body_for(), headers=JSON)
        assert (reply.status, reply.json) == (status, {"error": {"message": "mine"}})
        assert reply.headers["retry-after"] == "7"
        assert reply.headers["content-type"] == "application/json"


# --- routes ---


async def test_other_paths_go_unpicked_to_the_default_pool(lab: Lab, listener: str) -> None:
    """What is no POST of a prompt never reaches the picker, whatever its body says."""
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("GET", PATH, None),
        ("POST", "/tokenize", body_for("m-b")),
        ("POST", f"{PATH}/more", b"not json"),
    ):
        reply = await http1(listener, path, body, method=method)
        assert reply.status == 200, path
        assert "x-kvpilot-decision" not in reply.headers
    assert not lab.picker.streams
    assert not lab.other.received


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (body_for("nobody's"), 404, "model_not_found", "model"),
        (b'{"model": 5}', 404, "model_not_found", "model"),
        (b'{"prompt": "hi"}', 400, "missing_model", "model"),
        (b'{"model": null}', 400, "missing_model", "model"),
        (b'{"model": {}}', 400, "missing_model", "model"),
        (body_for("m" * 8193), 400, "missing_model", "model"),
        (b"[]", 400, "missing_model", "model"),
        (b'"m-a"', 400, "missing_model", "model"),
        (b"", 400, "missing_model", "model"),
        (None, 400, "missing_model", "model"),
        (b"{nope", 400, "invalid_json", None),
        (b'{"model": "m-a"} trailing', 400, "invalid_json", None),
        (b'{"model": "m-a", "prompt": "\xff"}', 400, "invalid_json", None),
    ],
)
async def test_client_errors_are_envoys_own(
    lab: Lab, listener: str, body: bytes | None, status: int, code: str, param: str | None
) -> None:
    """Bad bodies and unknown models are answered in OpenAI's shape without asking picker or pod."""
    for path in (PATH, "/v1/embeddings"):
        reply = await http1(listener, path, body, headers=JSON)
        assert reply.status == status
        assert (reply.error["type"], reply.error["code"], reply.error["param"]) == (
            "invalid_request_error",
            code,
            param,
        )
    assert not lab.picker.streams
    assert not any(pod.received for pod in lab.pods)


async def test_a_missing_model_is_explained(lab: Lab, listener: str) -> None:
    """One text for all that has no model: it says what the body must look like."""
    for body in (b"{}", b"[]", b'"m-a"', b'{"model": {}}', body_for("m" * 9000)):
        message = (await http1(listener, PATH, body, headers=JSON)).error["message"]
        assert "JSON object" in message
        assert "short string" in message


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/x/../chat/completions",
        "/v1/./chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1%2fchat%2Fcompletions",
        "/v1/x%2F..%2Fchat/completions",
        "/v1/x/%2e%2e/chat/completions",
        "/v1/chat%5Ccompletions",
        "/v1/%63hat/completions",
    ],
)
async def test_a_path_has_one_spelling(lab: Lab, listener: str, path: str) -> None:
    """However it is written, it ends up on the model's route and at the pod in its plain form, query untouched."""
    lab.named(lab.other)
    reply = await http1(listener, f"{path}?a=%2F", body_for("m-b"), headers=JSON)
    assert (reply.status, reply.headers["x-kvpilot-pod"]) == (200, lab.other.address)
    assert [seen.attributes["xds.route_name"] for seen in lab.picker.streams] == ["model/m-b"]
    assert [request.path for request in lab.other.received] == ["/v1/chat/completions?a=%2F"]


async def test_names_with_slashes_pass_in_other_paths(lab: Lab, listener: str) -> None:
    """A model is looked up by its escaped name; pods unescape it as well."""
    reply = await http1(listener, "/v1/models/meta%2Fllama", method="GET")
    assert reply.status == 200
    assert {request.path for pod in lab.pods for request in pod.received} == {"/v1/models/meta/llama"}


async def test_unknown_model_is_named_safely(lab: Lab, listener: str) -> None:
    """The error names the model that was asked for, whatever characters it has."""
    name = 'x"y\\z\n\u2028<b>'
    reply = await http1(listener, PATH, body_for(name), headers=JSON)
    assert reply.error["message"] == f"The model '{name}' does not exist."


@pytest.mark.parametrize("headers", [JSON, {"content-type": "application/json; charset=utf-8"}, {}])
async def test_content_type_does_not_matter(lab: Lab, listener: str, headers: dict[str, str]) -> None:
    """The model is found under any content type and under none, sent whole or chunked."""
    lab.named(lab.other)
    for chunked in (False, True):
        reply = await http1(listener, PATH, body_for("m-b"), headers=headers, chunked=chunked)
        assert (reply.status, reply.headers["x-kvpilot-pod"]) == (200, lab.other.address)
    assert [seen.attributes["xds.route_name"] for seen in lab.picker.streams] == ["model/m-b"] * 2


async def test_canary_sticks_to_a_session(lab: Lab, listener: str) -> None:
    """A session stays with its pool, sessions spread over both, and the picker is told the pool that serves."""
    pools: dict[str, set[str]] = {}
    for turn in range(3):
        for number in range(16):
            session = f"session-{number}"
            await http1(listener, PATH, body_for("m-split", turn=turn), headers={**JSON, "x-session-id": session})
            pools.setdefault(session, set()).add(lab.picker.streams[-1].attributes["xds.cluster_name"])
    assert all(len(found) == 1 for found in pools.values())
    assert set.union(*pools.values()) == {"pool/a", "pool/b.1"}
    told = sum(seen.attributes["xds.cluster_name"] == "pool/b.1" for seen in lab.picker.streams)
    assert len(lab.other.received) == told


async def test_each_pool_of_a_canary_has_its_own_retries(lab: Lab, listener: str) -> None:
    """Pool a tries three times, pool b once, though one route leads to both."""
    for pod in lab.pods:
        pod.behaviour = "503"
    tries = set()
    for number in range(16):
        for pod in lab.pods:
            pod.received.clear()
        await http1(listener, PATH, body_for("m-split"), headers={**JSON, "x-session-id": f"session-{number}"})
        tries.add((len(lab.first.received) + len(lab.second.received), len(lab.other.received)))
    assert tries == {(3, 0), (0, 1)}


# --- sizes ---


async def test_large_prompts_pass(lab: Lab, listener: str) -> None:
    """3 MB pass with a length, chunked, and over HTTP/2."""
    body = prompt_of(3 * MIB)
    lab.named(lab.second)
    assert (await http1(listener, PATH, body, headers=JSON)).status == 200
    assert (await http1(listener, PATH, body, headers=JSON, chunked=True)).status == 200
    assert (await http2(listener, PATH, body, JSON)).status == 200
    assert [request.body == body for request in lab.second.received] == [True] * 3


@pytest.mark.parametrize("path", [PATH, "/v1/embeddings", "/tokenize"])
async def test_bodies_over_the_limit_are_refused(lab: Lab, listener: str, path: str) -> None:
    """413 in OpenAI's shape; HTTP/2 may exceed the limit by one stream window."""
    body = prompt_of(MAX_REQUEST_BYTES)
    over_window = prompt_of(MAX_REQUEST_BYTES + 128 * 1024)
    replies = [
        await http1(listener, path, body, headers=JSON),
        await http1(listener, path, body, headers=JSON, chunked=True),
        await http2(listener, path, over_window, JSON),
    ]
    assert [reply.status for reply in replies] == [413] * 3
    assert {reply.json["error"]["code"] for reply in replies} == {"request_too_large"}
    assert not any(pod.received for pod in lab.pods)


async def test_answers_may_be_larger_than_requests(lab: Lab, listener: str) -> None:
    """Reading token usage from a plain answer does not limit it to the size of a request."""
    lab.first.padding = lab.second.padding = MAX_REQUEST_BYTES + MIB
    for path in (PATH, "/v1/embeddings", "/tokenize"):
        reply = await http1(listener, path, body_for(), headers=JSON)
        assert (reply.status, len(reply.body) > MAX_REQUEST_BYTES) == (200, True)


# --- headers ---


async def test_clients_cannot_forge_what_is_ours(lab: Lab, listener: str) -> None:
    """Picks, ids, labels and the router's orders that a client sends are gone; its request id stays."""
    forged = {
        "x-kvpilot-decision": "forged",
        "X-KVPilot-Anything": "forged",
        "x-gateway-destination-endpoint": lab.other.address,
        "x-gateway-destination-endpoint-subset": lab.other.address,
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-alt-stat-name": "forged",
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-hedge-on-per-try-timeout": "true",
        "x-request-id": "mine",
    }
    lab.first.plain_delay_s = lab.second.plain_delay_s = 0.05
    for answer in ({}, pick(lab.first.address, decision="d-2")):
        lab.picker.answer = lambda seen, answer=answer: answer  # type: ignore[misc]
        reply = await http1(listener, PATH, body_for(), headers={**JSON, **forged})
        assert reply.status == 200
        (request,) = [request for pod in lab.pods for request in pod.received]
        assert request.headers["x-request-id"] == "mine"
        assert request.headers.get("x-kvpilot-decision") == ("d-2" if answer else None)
        ours = {name.lower() for name in forged} - {"x-kvpilot-decision", "x-request-id"}
        assert not ours & set(request.headers)
        lab.first.received.clear()
        lab.second.received.clear()


async def test_pods_cannot_forge_what_is_ours(lab: Lab, listener: str) -> None:
    """Labels in a pod's answer are replaced by the true ones, or removed where there is none."""
    lab.first.extra_headers = lab.second.extra_headers = "x-kvpilot-decision: forged\r\nx-kvpilot-pod: forged\r\n"
    reply = await http1(listener, PATH, body_for(), headers=JSON)
    assert reply.headers["x-kvpilot-pod"] in (lab.first.address, lab.second.address)
    assert "x-kvpilot-decision" not in reply.headers


# --- Envoy's own errors and timeouts ---


async def test_dead_ends_are_openai_shaped(lab: Lab, listener: str) -> None:
    """503 with Retry-After when every try was cut off, 504 when every try timed out; a pod's own 503 stays its own."""
    lab.other.behaviour = "reset"
    reply = await http1(listener, PATH, body_for("m-b"), headers=JSON)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "service_unavailable", "1")
    lab.other.behaviour = "hang"
    lab.named(lab.other, first_byte_ms=100)
    reply = await http1(listener, PATH, body_for("m-b"), headers=JSON)
    assert (reply.status, reply.error["code"]) == (504, "timeout")
    lab.other.behaviour = "503"
    reply = await http1(listener, PATH, body_for("m-b"), headers=JSON)
    assert (reply.status, reply.body) == (503, b"full")


_POST = b"POST /v1/completions HTTP/1.1\r\n"
_UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + _UPGRADE + b"\r\n", 403, "forbidden"),
        (_POST + b"host: x\r\ncontent-length: 2\r\n" + _UPGRADE + b"\r\n{}", 403, "forbidden"),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 426, "upgrade_required"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: a\r\n" * 120 + b"\r\n", 431, "headers_too_large"),
        (_POST + b"host: x\r\ntransfer-encoding: gzip\r\n\r\n", 501, "not_implemented"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "bad_request"),
        (_POST + b"host: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
    ],
)
async def test_refusals_of_the_protocol_are_openai_shaped(
    lab: Lab, listener: str, request_bytes: bytes, status: int, code: str
) -> None:
    """What Envoy refuses before it reads a body, with a response flag or without, is JSON with the right status."""
    reply = await raw(listener, request_bytes)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert not lab.picker.streams
    assert not any(pod.received for pod in lab.pods)


async def test_silence_ends_streams_but_not_plain_answers(lab: Lab, listener: str) -> None:
    """A stream that stalls is ended by the idle timeout and logged so; a slow plain answer comes."""
    decision = new_decision()
    lab.named(lab.first, decision=decision)
    lab.first.behaviour = "stall"
    with pytest.raises((asyncio.IncompleteReadError, ValueError)):
        await http1(listener, PATH, body_for("m-idle", stream=True), headers=JSON)
    await eventually(lambda: lab.logged("request", decision, "DownstreamEnd"), "the request's record")
    (record,) = lab.logged("request", decision, "DownstreamEnd")
    assert record["commonProperties"]["responseFlags"] == {"streamIdleTimeout": True}
    lab.first.behaviour, lab.first.plain_delay_s = "json", 2 * IDLE_S
    reply = await http1(listener, PATH, body_for("m-idle"), headers=JSON)
    assert reply.status == 200


# --- outcomes ---


async def test_attempts_and_request_are_logged(lab: Lab, listener: str) -> None:
    """Each attempt has a start and an end with its pod, the request one end; all carry the decision."""
    decision = new_decision()
    lab.second.behaviour = "hang"
    lab.named(lab.second, lab.first, decision=decision, first_byte_ms=FIRST_BYTE_MS)
    await http1(listener, PATH, body_for(), headers=JSON)
    await eventually(lambda: lab.logged("request", decision, "DownstreamEnd"), "the request's record")
    await eventually(lambda: len(lab.logged("attempt", decision, "UpstreamEnd")) == 2, "both attempts' records")
    starts = [_pod_of(record) for record in lab.logged("attempt", decision, "UpstreamPoolReady")]
    failed, served = lab.logged("attempt", decision, "UpstreamEnd")
    assert starts == [_pod_of(failed), _pod_of(served)] == [lab.second.address, lab.first.address]
    assert failed["commonProperties"]["responseFlags"] == {"upstreamRequestTimeout": True}
    assert served["response"]["responseCode"] == 200
    tags = served["commonProperties"]["customTags"]
    assert int(tags["first_token_us"]) > int(tags["attempt_first_token_us"]) > 0
    (request,) = lab.logged("request", decision, "DownstreamEnd")
    assert request["commonProperties"]["upstreamRequestAttemptCount"] == 2
    assert request["commonProperties"]["routeName"] == "model/m-a"


@pytest.mark.parametrize(("behaviour", "stream"), [("json", False), ("sse", True)])
async def test_token_usage_is_logged(lab: Lab, listener: str, behaviour: str, stream: bool) -> None:
    """Token counts of plain and of streamed answers stand in the request's record."""
    decision = new_decision()
    lab.named(lab.first, decision=decision)
    lab.first.behaviour = behaviour
    await http1(listener, PATH, body_for(stream=stream), headers=JSON)
    await eventually(lambda: lab.logged("request", decision, "DownstreamEnd"), "the request's record")
    (record,) = lab.logged("request", decision, "DownstreamEnd")
    tags = record["commonProperties"]["customTags"]
    assert tags.pop("first_token_us").isdecimal()
    assert tags == {
        "decision": decision,
        "model": "m-a",
        "prompt_tokens": "12",
        "completion_tokens": "3",
        "cached_tokens": "8",
    }


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 12, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 8}},
        {"input_tokens": 12, "output_tokens": 3, "cache_read_input_tokens": 8},
    ],
)
async def test_other_dialects_of_usage_are_read(lab: Lab, listener: str, usage: dict[str, object]) -> None:
    """OpenAI's responses and Anthropic's messages name their counts otherwise."""
    decision = new_decision()
    lab.named(lab.first, decision=decision)
    before, lab.first.usage = lab.first.usage, usage
    try:
        await http1(listener, "/v1/messages", body_for(), headers=JSON)
    finally:
        lab.first.usage = before
    await eventually(lambda: lab.logged("request", decision, "DownstreamEnd"), "the request's record")
    tags = lab.logged("request", decision, "DownstreamEnd")[0]["commonProperties"]["customTags"]
    assert (tags["prompt_tokens"], tags["completion_tokens"], tags["cached_tokens"]) == ("12", "3", "8")


def _pod_of(record: dict[str, Any]) -> str:
    address = record["commonProperties"]["upstreamRemoteAddress"]["socketAddress"]
    return f"{address['address']}:{address['portValue']}"


# --- without a picker, and with sick pods ---


async def test_dead_and_hung_pickers_cost_the_pick_only(tmp_path: Path) -> None:
    """Requests go on by model; a hung picker delays those of its first half second, after that it is not asked."""
    async for lab in new_lab(tmp_path, message_timeout_s=1.0, health_checks=True):
        lab.reset()
        lab.picker.hung = True
        await served_by_model(lab)
        await picker_is_asked(lab, False)
        lab.picker.streams.clear()
        await served_by_model(lab)
        assert not lab.picker.streams
        lab.picker.hung = False
        await picker_is_asked(lab, True)
        await lab.picker.stop()
        await served_by_model(lab)
        await lab.picker.start()
        await picker_is_asked(lab, True)
        lab.named(lab.second)
        for listener in lab.listeners.values():
            reply = await http1(listener, PATH, body_for(), headers=JSON)
            assert reply.headers["x-kvpilot-pod"] == lab.second.address


async def picker_is_asked(lab: Lab, asked: bool) -> None:
    """Sends requests until Envoy's health check has made it ask the picker, or ask it no more."""
    (listener, *_) = lab.listeners.values()
    async with asyncio.timeout(10):
        while True:
            before = len(lab.picker.streams)
            await http1(listener, PATH, body_for(), headers=JSON)
            if (len(lab.picker.streams) > before) == asked:
                return
            await asyncio.sleep(0.02)


async def served_by_model(lab: Lab) -> None:
    """Requests succeed without a decision, each at a pod of its model; unknown models stay unknown."""
    for listener in lab.listeners.values():
        for model, pods in (("m-a", (lab.first, lab.second)), ("m-b", (lab.other,)), ("m-d", (lab.first,))):
            reply = await http1(listener, PATH, body_for(model), headers=JSON)
            assert reply.status == 200
            assert reply.headers["x-kvpilot-pod"] in {pod.address for pod in pods}
            assert "x-kvpilot-decision" not in reply.headers
        assert (await http1(listener, PATH, body_for("nobody's"), headers=JSON)).status == 404


def sick_fleet(policy: Policy) -> Fleet:
    """Pool a has one pod that drains, pool b only an unhealthy one, pool d none."""
    fleet = static_fleet(policy)
    draining, fine = fleet.pools["a"]
    (lost,) = fleet.pools["b.1"]
    return Fleet(
        pools={
            "a": (replace(draining, health=Health.DRAINING), fine),
            "b.1": (replace(lost, health=Health.UNHEALTHY),),
        }
    )


async def test_sick_pods_get_nothing_by_themselves(tmp_path: Path) -> None:
    """A draining pod gets no new request, a pool without a healthy pod answers 503; a pick still decides."""
    async for lab in new_lab(tmp_path, sick_fleet):
        lab.reset()
        (listener, *_) = lab.listeners.values()
        for _ in range(8):
            reply = await http1(listener, PATH, body_for(), headers=JSON)
            assert reply.headers["x-kvpilot-pod"] == lab.second.address
        for model in ("m-b", "m-d"):
            reply = await http1(listener, PATH, body_for(model), headers=JSON)
            assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (
                503,
                "service_unavailable",
                "1",
            )
        lab.named(lab.first)
        reply = await http1(listener, PATH, body_for(), headers=JSON)
        assert reply.headers["x-kvpilot-pod"] == lab.first.address


# --- what an Envoy takes ---


async def test_this_envoy_lacks_nothing(lab: Lab) -> None:
    """The list of extensions that the real Envoy sends satisfies every feature."""
    info = await lab.envoy.get("/server_info")
    extensions = {name for found in info["node"]["extensions"] for name in (found["name"], *found.get("type_urls", []))}
    version = info["node"]["user_agent_build_version"]["version"]
    numbers = (version["major_number"], version["minor_number"], version.get("patch", 0))
    assert capabilities(Node(id="lab", version=numbers, extensions=frozenset(extensions))).missing == ()


@pytest.mark.parametrize("extensions", [None, frozenset[str]()])
@pytest.mark.parametrize("minor", [34, 36, 37, 38, 40])
async def test_what_is_compiled_for_any_envoy_is_valid(
    tmp_path: Path, minor: int, extensions: frozenset[str] | None
) -> None:
    """Leaving features out leaves a configuration that Envoy accepts."""
    pods = (Pod(address="127.0.0.1:8001"), Pod(address="[::1]:8002"), Pod(address="127.0.0.1:8003"))
    policy = policy_for(*pods, "127.0.0.1:8004", [18080, 18081])
    node = Node(id="lab", version=(1, minor, 0), extensions=extensions)
    await validated(tmp_path, static_bootstrap(compiled_for(policy, "unix:/run/kvpilot.sock", node=node)))


@pytest.mark.parametrize("ads", ["delta", "sotw"])
@pytest.mark.parametrize("xds", ["127.0.0.1:18000", "unix:/run/xds.sock"])
async def test_bootstrap_is_valid(tmp_path: Path, ads: AdsVariant, xds: str) -> None:
    """Envoy accepts the bootstrap, with ids that YAML could take for something else."""
    document = bootstrap(
        bootstrap_template=bootstrap_template(),
        xds=parse_address(xds),
        node_id="on",
        node_cluster="1.10",
        region="n",
        zone="",
        ads=ads,
        admin=local(0),
    )
    await validated(tmp_path, document)


async def validated(directory: Path, document: Mapping[str, object]) -> None:
    """Fails with what Envoy says against `document`, which it reads as YAML."""
    config = directory / "envoy.yaml"
    config.write_text(quoted_yaml.dump(document))
    done = await asyncio.create_subprocess_exec(
        *(find_envoy(), "--mode", "validate", "-c", str(config), "-l", "error"), stdout=PIPE, stderr=STDOUT
    )
    output, _ = await done.communicate()
    assert done.returncode == 0, output.decode()


async def test_an_envoy_that_cannot_read_bodies_serves_the_default_pool(tmp_path: Path) -> None:
    """Without json_to_metadata every request goes to the default pool, still picked."""
    pods = (Pod(), Pod(), Pod())
    picker = lab_picker()
    without = frozenset(
        name
        for name in (
            "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        )
    )
    async with running(*pods, picker):
        dead, *ports = free_ports(3)
        policy = policy_for(*pods, f"127.0.0.1:{dead}", ports)
        node = Node(id="lab", version=(1, 40, 0), extensions=without)
        envoy = Envoy(tmp_path, static_bootstrap(compiled_for(policy, picker.address, node=node)))
        async with running(envoy):
            picker.answer = lambda seen: pick(pods[1].address)
            for port in ports:
                reply: Reply = await http1(f"127.0.0.1:{port}", PATH, body_for("m-b"), headers=JSON)
                assert reply.status == 200
            assert [len(pod.received) for pod in pods] == [0, 2, 0]
            assert [seen.kinds for seen in picker.streams] == [["request_headers", "request_body"]] * 2
