"""An edit cannot switch TLS on a port that is open: it stays, Envoys are told what is true, and somebody is warned."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from control_plane.policy import Document, load
from control_plane.policy.codes import Code
from control_plane.sidecar.fixed_ports import EXT_PROC, XDS, as_opened
from tests.kit.certificates import authority
from tests.unit.control_plane.sidecar.in_process import edit, policy_text, running

PLAIN = policy_text()
FILES = "serverCertificate: server.pem, privateKey: server-key.pem"
ENVOY = "envoy: {caCertificates: ca.pem, clientCertificate: envoy.pem, privateKey: envoy-key.pem, sni: localhost}"


def with_tls(port: str = "extProc", mode: str = "SIMPLE", files: str = FILES) -> str:
    """The plain policy with TLS on a port."""
    authorities = ", caCertificates: ca.pem" if mode == "MUTUAL" else ""
    tls = f"{{tls: {{mode: {mode}, {files}{authorities}, {ENVOY}}}}}"
    return PLAIN + f"controlPlane: {{{port}: {tls}}}\n"


def document(text: str) -> Document:
    """The document of a text."""
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document


def test_what_is_as_it_was_stays_untouched() -> None:
    """No difference, or only other files: the document itself, and no word."""
    opened = document(with_tls()).policy.control_plane
    other = document(with_tls(files=FILES.replace("server.pem", "other.pem")))
    for given in (document(with_tls()), other):
        assert as_opened(given, opened) == (given, ())


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        (PLAIN, with_tls(), "5:26", "stays off instead of `SIMPLE`"),
        (with_tls(), PLAIN, "1:1", "stays `SIMPLE` instead of off"),
        (with_tls("xds"), with_tls("xds", "MUTUAL"), "5:22", "stays `SIMPLE` instead of `MUTUAL`"),
        (PLAIN, with_tls("loadReports"), "5:30", "`controlPlane.loadReports.tls` stays off"),
    ],
    ids=["on", "off", "mode", "load reports"],
)
def test_a_switched_port_is_kept_and_told(before: str, after: str, place: str, words: str) -> None:
    """The part of the policy that is about this port is the old one; the warning has its place."""
    opened, edited = document(before).policy.control_plane, document(after)
    kept, (warning,) = as_opened(edited, opened)
    assert kept.policy == replace(edited.policy, control_plane=opened)
    assert kept.version == edited.version
    assert (warning.code, warning.severity) == (Code.NEEDS_RESTART, "warning")
    assert (f"{warning.line}:{warning.column}", warning.file) == (place, "policy.yaml")
    assert words in warning.message


def test_a_port_of_another_process_is_not_ours_to_keep() -> None:
    """Without the picker here, its port's TLS is what the policy says."""
    opened, edited = document(PLAIN).policy.control_plane, document(with_tls())
    assert as_opened(edited, opened, {XDS}) == (edited, ())
    assert as_opened(edited, opened, {EXT_PROC})[1]


async def test_envoys_are_not_told_of_tls_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is applied, the way to the picker stays plaintext, and log and status say why until it is taken back."""
    async with running(tmp_path, PLAIN) as sidecar:
        assert sidecar.slow_loop is not None
        with caplog.at_level(logging.WARNING, "kvpilot"):
            await edit(sidecar, with_tls())
        assert (sidecar.state.state, [one.code for one in sidecar.state.diagnostics]) == ("applied", ["KP908"])
        assert "warning [KP908] `controlPlane.extProc.tls` stays off" in caplog.text
        assert sidecar.slow_loop.document.policy.control_plane.ext_proc.tls is None
        await edit(sidecar, PLAIN)
        assert sidecar.state.diagnostics == ()


async def test_other_files_need_no_restart(tmp_path: Path) -> None:
    """An edit that names another certificate for the port: the next connection gets that one."""
    old, new = authority(tmp_path, "ca"), authority(tmp_path, "other-ca")
    old.issue("server", "localhost")
    new.issue("other", "localhost")
    async with running(tmp_path, with_tls("xds")) as sidecar:
        await reaches(sidecar.xds_address, old.pem)
        await edit(sidecar, with_tls("xds", files="serverCertificate: other.pem, privateKey: other-key.pem"))
        assert sidecar.state.diagnostics == ()
        await reaches(sidecar.xds_address, new.pem)


async def reaches(address: str, authorities: bytes) -> None:
    """A TLS connection by a client that trusts these; raises TimeoutError."""
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authorities), options) as channel:
        await asyncio.wait_for(channel.channel_ready(), 5)
