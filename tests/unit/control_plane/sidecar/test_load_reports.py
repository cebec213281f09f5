"""The port of load reports: whether it is there, its TLS, and what an edit changes."""

from pathlib import Path

import grpc
import pytest

from control_plane.sidecar.certificates import CertificateError
from protos.messages import load
from tests.kit.certificates import authority
from tests.unit.control_plane.admin.asking import admin_of, get
from tests.unit.control_plane.admin.test_metrics import scrape, value
from tests.unit.control_plane.sidecar.in_process import FIRST, edit, policy_text, running

HERE = "127.0.0.1:0"
FAR = "10.9.9.9:1"
METHOD = "/kvpilot.load.v1.LoadReports/Report"
PATIENCE_S = 10.0
"""No test waits this long unless it has failed."""


def with_port(said: str, *addresses: str) -> str:
    """A policy with settings of the port."""
    return policy_text(*addresses) + f"controlPlane: {{loadReports: {{{said}}}}}\n"


async def report(channel: grpc.aio.Channel, address: str) -> str:
    """How a stream with one heartbeat ends: OK when it was taken."""
    beat = load().parse_json(
        "kvpilot.load.v1.Heartbeat", {"address": address, "running": "2", "waiting": "1", "models": {"name": ["m"]}}
    )
    stream = channel.stream_stream(METHOD)(timeout=PATIENCE_S)
    try:
        await stream.write(beat.SerializeToString())
        await stream.read()
        await stream.done_writing()
        return str((await stream.code()).name)
    except grpc.aio.AioRpcError as refused:
        return str(refused.code().name)


async def test_without_a_word_there_is_no_port(tmp_path: Path) -> None:
    """It is off by default; the numbers about it are there all the same."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert sidecar.load_reports_address == ""
        assert "load_reports" not in (await get(admin, "/status"))["addresses"]
        assert value(await scrape(admin), "kvpilot_load_reports_total") == 0


async def test_reports_reach_status_and_metrics(tmp_path: Path) -> None:
    """Value, age and source of each number; refusals by their status."""
    async with running(tmp_path, load_reports=HERE) as sidecar, admin_of(sidecar) as admin:
        async with grpc.aio.insecure_channel(sidecar.load_reports_address) as channel:
            assert [await report(channel, address) for address in (FIRST, FAR)] == ["OK", "NOT_FOUND"]
        status = await get(admin, "/status")
        first, second = status["pools"]["p"]["endpoints"]
        assert first["told"] == {
            "running": {"value": 2, "age_s": 0.0, "source": "report"},
            "waiting": {"value": 1, "age_s": 0.0, "source": "report"},
        }
        assert (first["waiting"], first["running"], second["told"]) == (1.0, 2.0, {})
        assert status["addresses"]["load_reports"] == sidecar.load_reports_address
        samples = await scrape(admin)
        assert value(samples, "kvpilot_load_reports_total") == 1
        assert value(samples, "kvpilot_load_reports_refused_total", status="NOT_FOUND") == 1
        assert value(samples, "kvpilot_load_reporters") == 0
        assert value(samples, "kvpilot_load_headers_total", result="bad") == 0
        labels = {"pool": "p", "endpoint": FIRST, "source": "report"}
        assert value(samples, "kvpilot_endpoint_load_age_seconds", **labels) == 0


async def test_an_edit_lets_others_report(tmp_path: Path) -> None:
    """At once, on the open port."""
    async with (
        running(tmp_path, policy_text(FIRST, FAR), load_reports=HERE) as sidecar,
        grpc.aio.insecure_channel(sidecar.load_reports_address) as channel,
    ):
        assert await report(channel, FAR) == "PERMISSION_DENIED"
        await edit(sidecar, with_port("anyReporter: true", FIRST, FAR))
        assert await report(channel, FAR) == "OK"


async def test_mutual_tls(tmp_path: Path) -> None:
    """Only who shows a certificate of the authority reports."""
    ca = authority(tmp_path, "ca")
    ca.issue("server", "localhost")
    own = ca.pair("reporter")
    tls = "tls: {mode: MUTUAL, serverCertificate: server.pem, privateKey: server-key.pem, caCertificates: ca.pem}"
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    async with running(tmp_path, with_port(tls), load_reports=HERE) as sidecar:
        for credentials, expected in (
            (grpc.ssl_channel_credentials(ca.pem, own.key, own.certificate), "OK"),
            (grpc.ssl_channel_credentials(ca.pem), "UNAVAILABLE"),
        ):
            async with grpc.aio.secure_channel(sidecar.load_reports_address, credentials, options) as channel:
                assert await report(channel, FIRST) == expected


async def test_a_port_without_its_certificate_does_not_open(tmp_path: Path) -> None:
    """TLS that cannot be had is an error at the start; without the port its files are nobody's concern."""
    text = with_port("tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}")
    async with running(tmp_path, text) as sidecar:
        assert sidecar.load_reports_address == ""
    with pytest.raises(CertificateError, match=r"server\.pem"):
        async with running(tmp_path, text, load_reports=HERE):
            pass
