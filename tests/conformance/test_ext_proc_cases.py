"""The protocol between Envoy and an endpoint picker, case by case, over gRPC against the real service.

The numbers are those of our list of cases (`T03` and so on). Streamed body modes are answered by a refusal, on which
Envoy goes on without a pick.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from ext_proc.core.picker import Picker
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.service import PickerService
from ext_proc.transport.grpcio import MAX_MESSAGE_BYTES
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy

PATIENCE_S = 20.0
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"
PODS = ("10.0.0.1:8000", "10.0.0.2:8000", "[2001:db8::1]:8000")
EVIL = "6.6.6.6:666"


class Case:
    """The service under test, with streams to play messages on."""

    def __init__(self, service: PickerService, channel: Any) -> None:
        self.service = service
        self.channel = channel

    async def play(self, *messages: bytes) -> tuple[list[dict[str, Any]], Any]:
        """All answers to these messages and the status with which the stream ends after them."""
        call = self.channel.stream_stream(PROCESS)()
        try:
            for message in messages:
                await call.write(message)
            await call.done_writing()
        except asyncio.InvalidStateError:
            pass  # the server has ended the stream already
        async with asyncio.timeout(PATIENCE_S):
            answers = []
            try:
                while (data := await call.read()) is not grpc.aio.EOF:
                    answers.append(envoy.answer(data))
            except grpc.aio.AioRpcError:
                pass
            return answers, await call.code()


def settings(*addresses: str) -> PickerSettings:
    """One pool of these endpoints, which are not scraped."""
    endpoints = tuple(EndpointSettings(address=address, engine="none") for address in addresses)
    pool = PoolSettings(name="p", cluster="pool/p", strategy="least-request", endpoints=endpoints)
    return PickerSettings(version="v", pools=(pool,), models={"m": "m", "gpt-4": "m"})


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    """A running service."""
    service = PickerService(Picker(settings(*PODS)), load(), time.monotonic, random.Random(1))
    (bound,) = await service.start(["127.0.0.1:0"])
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(bound, options=options) as channel:
        yield Case(service, channel)
    await service.stop(0.0)


def destination(answer: dict[str, Any]) -> list[str]:
    """The endpoints that an answer names; empty when it names none."""
    metadata = answer.get("dynamicMetadata", {}).get("envoy.lb", {})
    return list(filter(None, metadata.get("x-gateway-destination-endpoint", "").split(",")))


async def test_t03_two_messages(case: Case) -> None:
    """T03: headers are continued without a pick, which comes with the body."""
    answers, status = await case.play(envoy.headers(), envoy.body(attributes=None, config=None))
    assert answers[0] == {"requestHeaders": {}}
    assert sorted(destination(answers[1])) == sorted(PODS)
    assert (len(answers), status) == (2, grpc.StatusCode.OK)


async def test_t04_one_message(case: Case) -> None:
    """T04: the body alone gets its pick, without relying on header mutations."""
    (answer,), status = await case.play(envoy.body())
    assert sorted(destination(answer)) == sorted(PODS)
    assert answer["requestBody"] == {"response": {}}
    assert status is grpc.StatusCode.OK


@pytest.mark.parametrize("mode", ["STREAMED", "FULL_DUPLEX_STREAMED", "GRPC"])
async def test_t06_t07_streamed_modes(case: Case, mode: str) -> None:
    """T06, T07: a streamed body is refused by a gRPC status that names the mode; nothing is picked or reserved."""
    answers, status = await case.play(envoy.headers(config={"requestBodyMode": mode}))
    assert (answers, status) == ([], grpc.StatusCode.UNIMPLEMENTED)
    assert case.service.open_reservations == 0


async def test_t01_request_without_body(case: Case) -> None:
    """T01: a GET goes on at once, to wherever Envoy's route leads."""
    attributes = {**envoy.ATTRIBUTES, "request.method": "GET", "request.path": "/v1/models"}
    answers, status = await case.play(envoy.headers(attributes=attributes, end_of_stream=True))
    assert (answers, status) == ([{"requestHeaders": {}}], grpc.StatusCode.OK)


async def test_t05_part_of_a_body(case: Case) -> None:
    """T05: of a body that is cut at the buffer's limit nothing is judged; the request goes on unpicked."""
    config = {"requestBodyMode": "BUFFERED_PARTIAL"}
    half = envoy.body(b'{"model": "m", "prompt": "xx', config=config, end_of_stream=False)
    answers, status = await case.play(half)
    assert (answers, status) == ([{"requestBody": {}}], grpc.StatusCode.OK)


async def test_t20_no_endpoints(case: Case) -> None:
    """T20: a pool without endpoints is answered 503, once, whatever follows."""
    case.service.apply_settings(settings())
    answers, status = await case.play(envoy.body(), envoy.request({"requestTrailers": {}}))
    assert [answer["immediateResponse"]["status"]["code"] for answer in answers] == ["ServiceUnavailable"]
    assert status is grpc.StatusCode.OK


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"model": 3}', b""])
async def test_t22_malformed_body(case: Case, body: bytes) -> None:
    """T22: a body that no engine could answer is 400 at once."""
    (answer,), _ = await case.play(envoy.body(body))
    assert answer["immediateResponse"]["status"]["code"] == "BadRequest"


async def test_t23_body_over_the_limit(case: Case) -> None:
    """T23: a message over the limit ends its stream, on which Envoy goes on unpicked; the next one is served."""
    answers, status = await case.play(envoy.body(b"x" * (MAX_MESSAGE_BYTES + 1)))
    assert (answers, status) == ([], grpc.StatusCode.RESOURCE_EXHAUSTED)
    (answer,), _ = await case.play(envoy.body())
    assert destination(answer)


async def test_t24_forged_destination(case: Case) -> None:
    """T24: what a client writes into our headers is never named nor echoed."""
    forged = {"x-gateway-destination-endpoint": EVIL, "x-kvpilot-decision": EVIL}
    answers, _ = await case.play(envoy.headers(others=forged), envoy.body(attributes=None, config=None))
    assert EVIL not in str(answers)
    assert sorted(destination(answers[1])) == sorted(PODS)


async def test_t27_half_close(case: Case) -> None:
    """T27: half-closing without any message, or before the body, is a clean end."""
    assert await case.play() == ([], grpc.StatusCode.OK)
    assert await case.play(envoy.headers()) == ([{"requestHeaders": {}}], grpc.StatusCode.OK)


async def test_t28_observability(case: Case) -> None:
    """T28: messages for observation get no answer at all."""
    watched = envoy.request({"requestHeaders": {}, "observabilityMode": True})
    assert await case.play(watched, watched) == ([], grpc.StatusCode.OK)


async def test_t29_unknown_messages(case: Case) -> None:
    """T29: a message of a kind that is not known is passed over; the next one is answered."""
    flow_control_init = bytes([12 << 3 | 2, 0])
    answers, status = await case.play(flow_control_init, b"", envoy.body())
    assert (len(answers), status) == (1, grpc.StatusCode.OK)
    assert destination(answers[0])


@pytest.mark.parametrize("messages", [[envoy.headers()] * 2, [envoy.body()] * 2])
async def test_t30_repeated_messages(case: Case, messages: list[bytes]) -> None:
    """T30: a repeated message is a protocol error; there are never two picks."""
    answers, status = await case.play(*messages)
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert sum(bool(destination(answer)) for answer in answers) <= 1
    for _ in range(1_000):
        if not case.service.open_streams:
            break
        await asyncio.sleep(0.001)
    assert case.service.open_reservations == 0


async def test_t32_ipv6(case: Case) -> None:
    """T32: an IPv6 endpoint is named in brackets."""
    case.service.apply_settings(settings("[2001:db8::1]:8000"))
    (answer,), _ = await case.play(envoy.body())
    assert destination(answer) == ["[2001:db8::1]:8000"]


@pytest.mark.parametrize("service", ["", "liveness", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor"])
async def test_t34_health(case: Case, service: str) -> None:
    """T34: each of the customary services serves."""
    request: Any = load()["grpc.health.v1.HealthCheckRequest"](service=service)
    answer: Any = load()["grpc.health.v1.HealthCheckResponse"].FromString(
        await case.channel.unary_unary(CHECK)(request.SerializeToString())
    )
    assert answer.status == 1


async def test_t35_header_values(case: Case) -> None:
    """T35: headers in `value` are read as well as those in `raw_value`."""
    pairs = {":path": "/v1/completions", ":method": "POST"}
    plain = envoy.request(
        {
            "requestHeaders": {"headers": {"headers": [{"key": key, "value": value} for key, value in pairs.items()]}},
            "attributes": {"envoy.filters.http.ext_proc": {"xds.cluster_name": "pool/p"}},
        }
    )
    answers, _ = await case.play(plain, envoy.body(attributes=None, config=None))
    assert destination(answers[1])


async def test_t37_response_messages(case: Case) -> None:
    """T37: messages of the response, which nobody asked for, are continued each in its kind."""
    kinds = ("responseHeaders", "responseBody", "responseTrailers")
    answers, status = await case.play(envoy.body(), *(envoy.request({kind: {}}) for kind in kinds))
    assert [next(iter(answer)) for answer in answers[1:]] == list(kinds)
    assert status is grpc.StatusCode.OK


async def test_t38_no_metadata(case: Case) -> None:
    """T38: without metadata and without our attributes there is no crash, and no pick: the pool is not known."""
    answers, status = await case.play(envoy.body(attributes=None))
    assert (answers, status) == ([{"requestBody": {}}], grpc.StatusCode.OK)
