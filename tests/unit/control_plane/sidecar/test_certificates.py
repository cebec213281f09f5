"""Certificate files: read, checked, rotated, and served on kvpilot's own ports."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar import certificates as module
from control_plane.sidecar.certificates import CertificateError, CertificateFiles, server_credentials
from control_plane.xds.identity import Identity, identity_of
from tests.kit.certificates import Authority, authority

LISTENER_TLS = "tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}"
PATH = "listeners.openai.tls.serverCertificate"


def policy(listener: str = LISTENER_TLS, more: str = "") -> Policy:
    """A policy whose listener has these fields, and further sections."""
    text = (
        "kvpilot: v1\n"
        f"{more}"
        f"listeners: [{{name: openai, address: 127.0.0.1:8080, {listener}}}]\n"
        "models: [{name: llama, pool: chat}]\n"
        "pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}\n"
    )
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document.policy


def own_ports(mode: str) -> Policy:
    """A policy with TLS on the xDS port."""
    tls = f"mode: {mode}, serverCertificate: server.pem, privateKey: server-key.pem"
    authorities = ", caCertificates: ca.pem" if mode == "MUTUAL" else ""
    return policy("maxRequestBytes: 1MiB", f"controlPlane: {{xds: {{tls: {{{tls}{authorities}}}}}}}\n")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """An authority with a server certificate beside it."""
    made = authority(tmp_path)
    made.issue("server", "localhost")
    return made


def files_of(directory: Path, value: Policy) -> CertificateFiles:
    """Read once, not watched."""
    found = CertificateFiles(directory)
    found.apply(value)
    return found


def test_reads_what_the_policy_names(tmp_path: Path, ca: Authority) -> None:
    """Relative paths start at the base; the materials have them as the policy writes them."""
    found = files_of(tmp_path, policy())
    assert [name for name, _ in found.materials.files] == ["server-key.pem", "server.pem"]
    assert found.materials.get("server.pem") == (tmp_path / "server.pem").read_bytes()
    [row] = found.status()
    end = row.pop("expires")
    assert row == {"policy": PATH, "files": ["server.pem", "server-key.pem"], "state": "ok", "error": ""}
    assert 0 < datetime.fromisoformat(end).timestamp() - time.time() < 24 * 3600


def test_an_expired_certificate_is_told(tmp_path: Path, ca: Authority) -> None:
    """It is served, since waiting for a better one would help nobody, and the status says so."""
    found = CertificateFiles(tmp_path, wall_clock=lambda: time.time() + 24 * 3600)
    found.apply(policy())
    [row] = found.status()
    assert (row["state"], row["error"]) == ("expired", f"server.pem expired at {row['expires']}")
    assert found.materials.get("server.pem") is not None


def test_nothing_changes_without_a_change(tmp_path: Path, ca: Authority) -> None:
    """Looking again gives the same object, so that nobody builds anything anew."""
    found = files_of(tmp_path, policy())
    before = found.materials
    found.look()
    assert found.materials is before


def test_missing_files_are_told(tmp_path: Path) -> None:
    """Nothing raises: the status names the file and the place in the policy."""
    found = files_of(tmp_path, policy())
    assert found.materials == NO_MATERIALS
    [row] = found.status()
    assert (row["state"], row["error"]) == ("missing", "server.pem: No such file or directory")


def test_half_a_rotation_keeps_the_last_good_pair(tmp_path: Path, ca: Authority) -> None:
    """A new certificate whose key has not come yet is not served; with its key it is."""
    found = files_of(tmp_path, policy())
    before = found.materials
    next_pair = ca.pair("localhost")
    (tmp_path / "server.pem").write_bytes(next_pair.certificate)
    found.look()
    assert found.materials == before
    [row] = found.status()
    assert (row["state"], row["error"]) == ("stale", "server-key.pem is not the key of server.pem")
    (tmp_path / "server-key.pem").write_bytes(next_pair.key)
    found.look()
    assert found.materials != before
    assert found.status()[0]["state"] == "ok"


def test_a_file_that_goes_away_is_still_served(tmp_path: Path, ca: Authority) -> None:
    """A deleted file is no reason to take a certificate from Envoy."""
    found = files_of(tmp_path, policy())
    before = found.materials
    (tmp_path / "server.pem").unlink()
    found.look()
    assert found.materials == before
    assert found.status()[0]["state"] == "stale"


@pytest.mark.parametrize(
    ("certificate", "key", "fault"),
    [
        (b"", None, "server.pem: there is no PEM certificate in it"),
        (None, b"", "server-key.pem: there is no PEM private key in it"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", None, "server.pem with server-key.pem: "),
        (b"x" * (module.MAX_BYTES + 1), None, "server.pem: more than 1,048,576 bytes"),
    ],
)
def test_what_is_no_certificate(
    tmp_path: Path, ca: Authority, certificate: bytes | None, key: bytes | None, fault: str
) -> None:
    """Files of another kind never reach Envoy."""
    if certificate is not None:
        (tmp_path / "server.pem").write_bytes(certificate)
    if key is not None:
        (tmp_path / "server-key.pem").write_bytes(key)
    found = files_of(tmp_path, policy())
    assert found.materials == NO_MATERIALS
    assert found.status()[0]["error"].startswith(fault)


def test_authorities_and_key_sets_are_checked(tmp_path: Path, ca: Authority) -> None:
    """A CA file that is none, and a JWK set that is none, are told like a bad certificate."""
    (tmp_path / "ca.pem").write_text("nothing")
    (tmp_path / "keys.json").write_text("{}")
    tls = "mode: MUTUAL, serverCertificate: server.pem, privateKey: server-key.pem, caCertificates: ca.pem"
    found = files_of(tmp_path, policy(f"tls: {{{tls}}}, jwt: [{{name: x, issuer: x, jwksFile: keys.json}}]"))
    assert [(row["policy"], row["error"]) for row in found.status()] == [
        (PATH, ""),
        ("listeners.openai.tls.caCertificates", "ca.pem: there is no PEM certificate in it"),
        ("listeners.openai.jwt[0].jwksFile", 'keys.json: it has no list of "keys"'),
    ]


def test_the_authorities_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: Authority) -> None:
    """Where no authorities are named, those of the machine are read, under the empty path."""
    monkeypatch.setattr(module, "system_authorities", lambda: ca.pem)
    jwt = "jwt: [{name: x, issuer: x, jwksUri: https://idp.corp/keys}]"
    found = files_of(tmp_path, policy(jwt))
    assert found.materials.get("") == ca.pem
    assert found.status()[0]["files"] == ["the authorities of this machine"]


def test_a_look_at_the_files_alone_is_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A preview logs nothing: what it is for may be refused, and `apply` tells it again."""
    certificates = CertificateFiles(tmp_path)
    certificates.preview(policy())
    assert not caplog.records
    certificates.apply(policy())
    assert "server.pem: No such file" in caplog.text


def test_an_edit_that_may_be_refused_changes_nothing(tmp_path: Path, ca: Authority) -> None:
    """A preview gives the materials of another policy and leaves those that are served."""
    found = files_of(tmp_path, policy("maxRequestBytes: 1MiB"))
    assert found.preview(policy()).get("server.pem") is not None
    assert found.materials == NO_MATERIALS
    assert found.status() == []


async def test_changes_are_told(tmp_path: Path, ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation calls back with the new materials, once."""
    monkeypatch.setattr(module, "POLL_S", 0.01)
    told: list[Materials] = []
    found = CertificateFiles(tmp_path, told.append)
    found.start(policy())
    try:
        ca.issue("server", "localhost")
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    finally:
        await found.stop()
    assert told == [found.materials]


def test_a_repr_has_no_keys(tmp_path: Path, ca: Authority) -> None:
    """What may end up in a log has the names only."""
    found = files_of(tmp_path, policy())
    assert repr(found.materials) == "Materials(server-key.pem, server.pem)"


def test_a_port_without_its_certificate_does_not_open(tmp_path: Path) -> None:
    """TLS that cannot be had is an error at the start, never plaintext."""
    value = own_ports("SIMPLE")
    tls = value.control_plane.xds.tls
    assert tls is not None
    with pytest.raises(CertificateError, match=r"server\.pem: No such file"):
        server_credentials(tls, files_of(tmp_path, value))


Call = Callable[[grpc.ChannelCredentials], Awaitable[Any]]


async def served(directory: Path, mode: str) -> tuple[Any, Call, list[Identity | None], CertificateFiles]:
    """A grpc server with TLS, how to call it, and who called."""
    value = own_ports(mode)
    tls = value.control_plane.xds.tls
    assert tls is not None
    certificates = files_of(directory, value)
    callers: list[Identity | None] = []

    async def echo(data: bytes, context: Any) -> bytes:
        callers.append(identity_of(context))
        return data

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Echo": handler}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tls, certificates))
    await server.start()

    async def call(credentials: grpc.ChannelCredentials) -> Any:
        options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            return await channel.unary_unary("/test/Echo")(b"hi", timeout=5)

    return server, call, callers, certificates


def client(ca: Authority, *names: str, common_name: str = "") -> grpc.ChannelCredentials:
    """Credentials of a client with a certificate for these names; without names, without one."""
    if not names and not common_name:
        return grpc.ssl_channel_credentials(ca.pem)
    certificate, key = ca.issue("client", *names, common_name=common_name)
    return grpc.ssl_channel_credentials(ca.pem, Path(key).read_bytes(), Path(certificate).read_bytes())


async def test_who_a_client_is(tmp_path: Path, ca: Authority) -> None:
    """SPIFFE ids and the common name come out of the certificate that grpc verified."""
    server, call, callers, _ = await served(tmp_path, "MUTUAL")
    try:
        spiffe = "spiffe://corp/ns/edge/1"
        await call(client(ca, spiffe, "https://not.spiffe", common_name="edge-gw"))
        await call(client(ca, "edge.corp"))
    finally:
        await server.stop(0)
    assert callers == [Identity((spiffe,), "edge-gw"), Identity((), "")]


async def test_a_client_without_a_certificate(tmp_path: Path, ca: Authority) -> None:
    """MUTUAL refuses it, SIMPLE takes it and knows no name."""
    server, call, callers, _ = await served(tmp_path, "MUTUAL")
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(client(ca))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        stranger = authority(tmp_path, "stranger")
        certificate, key = stranger.issue("strange", "spiffe://corp/ns/edge/1")
        pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
        with pytest.raises(grpc.aio.AioRpcError):
            await call(grpc.ssl_channel_credentials(ca.pem, *pair))
    finally:
        await server.stop(0)
    assert callers == []
    server, call, callers, _ = await served(tmp_path, "SIMPLE")
    try:
        await call(client(ca))
    finally:
        await server.stop(0)
    assert callers == [Identity((), "")]


async def test_new_connections_get_the_new_certificate(tmp_path: Path, ca: Authority) -> None:
    """A rotation needs no restart: clients that trust only the new authority get in, the others no more."""
    server, call, callers, certificates = await served(tmp_path, "SIMPLE")
    try:
        await call(client(ca))
        other = authority(tmp_path, "other")
        other.issue("server", "localhost")
        certificates.look()
        await call(client(other))
        with pytest.raises(grpc.aio.AioRpcError):
            await call(client(ca))
    finally:
        await server.stop(0)
    assert len(callers) == 2
