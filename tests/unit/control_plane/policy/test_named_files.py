"""Which files a policy names."""

from pathlib import PurePosixPath

from control_plane.policy.named_files import (
    SYSTEM_AUTHORITIES,
    Authorities,
    CertificatePair,
    KeySet,
    Token,
    named_files,
    resolved,
)
from control_plane.policy.security import EnvoyTls
from tests.unit.control_plane.policy.samples import MINIMAL, document

PAIR = "serverCertificate: s, privateKey: k"


def files(text: str) -> list[object]:
    """Those of a policy."""
    return list(named_files(document(text).policy))


def with_listener(more: str) -> str:
    """The smallest policy with more keys of its listener."""
    return MINIMAL.replace("8080}", f"8080, {more}}}")


def with_pool(tls: str) -> str:
    """The smallest policy with TLS to its pool."""
    return MINIMAL.replace("8000}]}}", f"8000}}], trafficPolicy: {{tls: {{{tls}}}}}}}}}")


def test_a_policy_without_files() -> None:
    """It names none."""
    assert files(MINIMAL) == []


def test_a_listener() -> None:
    """Its pair, its authorities, its key sets; each with the name of its secret and its place."""
    jwt = "jwt: [{name: a, issuer: a, jwksFile: j}, {name: b, issuer: b, jwksUri: https://x}]"
    assert files(with_listener(f"tls: {{mode: MUTUAL, {PAIR}, caCertificates: c}}, {jwt}")) == [
        CertificatePair("listeners.openai.tls.serverCertificate", "listener/openai", "s", "k"),
        Authorities("listeners.openai.tls.caCertificates", "listener/openai/ca", "c"),
        KeySet("listeners.openai.jwt[0].jwksFile", "j"),
        Authorities("listeners.openai.jwt[1].caCertificates", "system/ca", SYSTEM_AUTHORITIES),
    ]


def test_what_a_mode_does_not_use_is_not_read() -> None:
    """Authorities in the mode SIMPLE, everything in the mode DISABLE."""
    assert len(files(with_listener(f"tls: {{mode: SIMPLE, {PAIR}, caCertificates: c}}"))) == 1
    assert files(with_pool("mode: DISABLE, caCertificates: c")) == []
    assert files(with_pool("mode: SIMPLE, insecureSkipVerify: true")) == []


def test_a_pool() -> None:
    """Our pair towards it, and its authorities or the machine's."""
    path = "pools.chat.trafficPolicy.tls"
    assert files(with_pool("mode: MUTUAL, clientCertificate: p, privateKey: k, caCertificates: c")) == [
        CertificatePair(f"{path}.clientCertificate", "pool/chat", "p", "k"),
        Authorities(f"{path}.caCertificates", "pool/chat/ca", "c"),
    ]
    assert files(with_pool("mode: SIMPLE, sni: a")) == [Authorities(f"{path}.caCertificates", "system/ca", "")]


def test_a_token() -> None:
    """The one for a pool's metrics, whether or not there is TLS."""
    text = MINIMAL.replace("8000}]}}", "8000}], scrape: {bearerTokenFile: t}}}")
    assert files(text) == [Token("pools.chat.scrape.bearerTokenFile", "t")]
    assert document(text).mark("pools.chat.scrape.bearerTokenFile")


def test_a_token_of_exporters() -> None:
    """The one for the hardware of a pool's endpoints."""
    text = MINIMAL.replace("8000}]}}", "8000}], health: {gpu: {bearerTokenFile: t}}}}")
    assert files(text) == [Token("pools.chat.health.gpu.bearerTokenFile", "t")]
    assert document(text).mark("pools.chat.health.gpu.bearerTokenFile")


def test_own_ports() -> None:
    """What kvpilot itself uses is no secret of Envoy's; what Envoy uses towards the picker is one."""
    envoy = "envoy: {caCertificates: e, clientCertificate: p, privateKey: q}"
    tls = f"{{tls: {{mode: MUTUAL, {PAIR}, caCertificates: c, {envoy}}}}}"
    assert files(MINIMAL + f"controlPlane: {{xds: {tls}, extProc: {tls}}}\n") == [
        CertificatePair("controlPlane.xds.tls.serverCertificate", "", "s", "k"),
        Authorities("controlPlane.xds.tls.caCertificates", "", "c"),
        CertificatePair("controlPlane.extProc.tls.serverCertificate", "", "s", "k"),
        Authorities("controlPlane.extProc.tls.caCertificates", "", "c"),
        CertificatePair("controlPlane.extProc.tls.envoy.clientCertificate", "kvpilot/ext-proc", "p", "q"),
        Authorities("controlPlane.extProc.tls.envoy.caCertificates", "kvpilot/ext-proc/ca", "e"),
    ]


def test_every_place_is_in_the_file() -> None:
    """The paths are those of the policy's marks, so that a finding about a file has its line."""
    text = with_listener(
        f"tls: {{mode: MUTUAL, {PAIR}, caCertificates: c}}, jwt: [{{name: a, issuer: a, jwksFile: j}}]"
    )
    found = document(text)
    assert {named.policy_path for named in named_files(found.policy)} <= set(found.marks)


def test_whole_paths() -> None:
    """Relative paths start at the policy file, absolute ones stay, missing ones stay missing."""
    envoy = resolved(EnvoyTls(ca_certificates="tls/ca.pem", client_certificate="/etc/p.pem"), PurePosixPath("/etc/kv"))
    assert (envoy.ca_certificates, envoy.client_certificate, envoy.private_key) == (
        "/etc/kv/tls/ca.pem",
        "/etc/p.pem",
        "",
    )
