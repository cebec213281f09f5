"""Rules about TLS, tokens and authorization: each mistake at its exact place, with its code."""

import re

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, MINIMAL, with_pool

SERVER = "serverCertificate: s.pem, privateKey: k.pem"
JWKS = 'jwks: \'{"keys": [{"kty": "oct", "k": "AAAA"}]}\''
RULE = f"name: r, issuer: i, {JWKS}"


def with_listener(more: str) -> str:
    """The smallest policy with more keys of its listener."""
    return MINIMAL.replace("address: 127.0.0.1:8080}", f"address: 127.0.0.1:8080,\n{more}}}")


def findings(text: str) -> list[str]:
    """All findings as `code word`, with the word that stands where the finding points."""
    lines = text.splitlines()
    found = []
    for diagnostic in load(text, FILE).diagnostics:
        rest = lines[diagnostic.line - 1][diagnostic.column - 1 :]
        word = re.match(r"['\"]?[^\s,\]}:]*", rest)
        found.append(f"{diagnostic.code} {word[0] if word else ''}".strip())
    return found


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (f"mode: SIMPLE, {SERVER}", []),
        (f"mode: SIMPLE, {SERVER}, caCertificates: c.pem", ["KP902 c.pem"]),
        (f"mode: SIMPLE, {SERVER}, subjectAltNames: [a]", ["KP902 subjectAltNames"]),
        (f"mode: MUTUAL, {SERVER}", ["KP313 MUTUAL"]),
        (f"mode: OPTIONAL_MUTUAL, {SERVER}", ["KP313 OPTIONAL_MUTUAL"]),
        (f"mode: MUTUAL, {SERVER}, caCertificates: c.pem", []),
        (f"mode: ISTIO_MUTUAL, {SERVER}", ["KP215 ISTIO_MUTUAL"]),
        (f"mode: SIMPLE, {SERVER}, minProtocolVersion: TLSV1_1", ["KP215 TLSV1_1"]),
        (f"mode: SIMPLE, {SERVER}, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2", ["KP314 TLSV1_3"]),
        (f"mode: SIMPLE, {SERVER}, minProtocolVersion: TLSV1_3, cipherSuites: [AES128-SHA]", ["KP902 cipherSuites"]),
        (f"mode: SIMPLE, {SERVER}, cipherSuites: [RC4-MD5]", ["KP208 RC4-MD5"]),
        (f"mode: SIMPLE, {SERVER}, subjectAltNames: ['*']", ["KP206 '*'"]),
        (f"mode: SIMPLE, {SERVER}, credentialName: x", ["KP215 credentialName"]),
        ("mode: SIMPLE, serverCertificate: s.pem", ["KP203 {mode"]),
        ("mode: SIMPLE, serverCertificate: '', privateKey: k.pem", ["KP206 ''"]),
    ],
)
def test_listener_tls(tls: str, expected: list[str]) -> None:
    """TLS towards clients."""
    assert findings(with_listener(f"tls: {{{tls}}}")) == expected


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("mode: SIMPLE, caCertificates: c.pem", []),
        ("mode: SIMPLE, sni: pod.corp", []),
        ("mode: SIMPLE", ["KP906 SIMPLE"]),
        ("mode: SIMPLE, caCertificates: c.pem, insecureSkipVerify: true", ["KP902 c.pem", "KP906 true"]),
        ("mode: SIMPLE, caCertificates: c.pem, privateKey: k.pem", ["KP902 k.pem"]),
        ("mode: MUTUAL, caCertificates: c.pem", ["KP313 MUTUAL"]),
        ("mode: MUTUAL, caCertificates: c.pem, clientCertificate: p.pem", ["KP313 MUTUAL"]),
        ("mode: MUTUAL, caCertificates: c.pem, clientCertificate: p.pem, privateKey: k.pem", []),
        ("mode: DISABLE, sni: pod.corp", ["KP902 pod.corp"]),
        ("mode: DISABLE", []),
    ],
)
def test_pool_tls(tls: str, expected: list[str]) -> None:
    """TLS towards pods."""
    text = with_pool("endpoints: [{address: 10.0.0.1:8000}]\ntrafficPolicy: {" + f"tls: {{{tls}}}}}")
    assert findings(text) == expected


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (f"xds: {{tls: {{mode: SIMPLE, {SERVER}}}}}", []),
        (f"xds: {{tls: {{mode: MUTUAL, {SERVER}}}}}", ["KP313 MUTUAL"]),
        (f"extProc: {{tls: {{mode: SIMPLE, {SERVER}}}}}", ["KP313 tls"]),
        (f"extProc: {{tls: {{mode: SIMPLE, {SERVER}, envoy: {{caCertificates: c.pem}}}}}}", []),
        (
            f"extProc: {{tls: {{mode: MUTUAL, {SERVER}, caCertificates: c.pem, envoy: {{caCertificates: c.pem}}}}}}",
            ["KP313 envoy"],
        ),
        (
            f"xds: {{tls: {{mode: SIMPLE, {SERVER}, envoy: {{caCertificates: c.pem, privateKey: k.pem}}}}}}",
            ["KP313 envoy"],
        ),
        (f"loadReports: {{anyReporter: true, tls: {{mode: SIMPLE, {SERVER}}}}}", []),
        (f"loadReports: {{tls: {{mode: SIMPLE, {SERVER}, envoy: {{caCertificates: c.pem}}}}}}", ["KP902 envoy"]),
    ],
)
def test_own_ports(ports: str, expected: list[str]) -> None:
    """TLS on the ports of kvpilot itself."""
    assert findings(MINIMAL + f"controlPlane: {{{ports}}}\n") == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RULE, []),
        ("name: r, issuer: i", ["KP203 {name"]),
        (f"{RULE}, jwksFile: f", ["KP214 f"]),
        ("name: r, issuer: i, jwks: '{}'", ["KP315 '{"]),
        ("name: r, issuer: i, jwks: nonsense", ["KP315 nonsense"]),
        ("name: r, issuer: i, jwksUri: ftp://x", ["KP206 ftp"]),
        ("name: r, issuer: i, jwksUri: 'http://x:99999/'", ["KP211 'http"]),
        ("name: r, issuer: i, jwksUri: http://x/, caCertificates: c.pem", ["KP902 c.pem"]),
        ("name: r, issuer: i, jwksUri: https://x/, caCertificates: c.pem", []),
        (f"{RULE}, outputClaimToHeaders: [{{header: x-envoy-x, claim: a}}]", ["KP209 x-envoy-x"]),
    ],
)
def test_jwt_rules(rule: str, expected: list[str]) -> None:
    """Where an issuer's keys are is said exactly once, and they are keys."""
    assert findings(with_listener(f"jwt: [{{{rule}}}]")) == expected


def test_two_rules_of_one_name() -> None:
    """Names are unique in a listener."""
    assert findings(with_listener(f"jwt: [{{{RULE}}},\n{{{RULE}}}]")) == ["KP302 r"]
    assert findings(with_listener("authorization: [{name: a, rules: [{}]},\n{name: a, rules: [{}]}]")) == ["KP302 a"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("[{}]", []),
        ("[{from: [{source: {}}]}]", ["KP203 source"]),
        ("[{to: [{operation: {}}]}]", ["KP203 operation"]),
        ("[{when: [{key: source.ip}]}]", ["KP203 {key"]),
        ("[{when: [{key: source.ip, values: [10.0.0.0/8, x]}]}]", ["KP210 x"]),
        ("[{when: [{key: destination.port, notValues: ['0']}]}]", ["KP207 '0'"]),
        ("[{when: [{key: source.ip, values: [10.0.0.1/8]}]}]", ["KP210 10.0.0.1/8"]),
        ("[{from: [{source: {ipBlocks: [10.0.0.1/8]}}]}]", ["KP210 10.0.0.1/8"]),
        ("[{when: [{key: source.namespace, values: [x]}]}]", ["KP215 source.namespace"]),
        ("[{when: [{key: request.nothing, values: [x]}]}]", ["KP208 request.nothing"]),
        ("[{when: [{key: 'request.headers[a b]', values: [x]}]}]", ["KP209 'request.headers[a"]),
        ("[{when: [{key: 'request.headers[X-A]', values: ['a*b']}]}]", ["KP206 'a*b'"]),
        ("[{to: [{operation: {paths: ['/a/*/b']}}]}]", ["KP206 '/a/*/b'"]),
        ("[{from: [{source: {namespaces: [a]}}]}]", ["KP215 namespaces"]),
        ("[{from: [{source: {requestPrincipals: [bob]}}]}]", ["KP206 bob"]),
        ("[{from: [{source: {requestPrincipals: ['*']}}]}]", ["KP902 authorization"]),
        ("[{when: [{key: 'request.auth.claims[a]', values: [x]}]}]", ["KP902 authorization"]),
        ("[{from: [{source: {principals: ['*']}}]}]", ["KP902 authorization"]),
        ("[{when: [{key: source.principal, values: ['*']}]}]", ["KP902 authorization"]),
    ],
)
def test_authorization(rules: str, expected: list[str]) -> None:
    """Rules that match nothing, or everything, by mistake."""
    assert findings(with_listener(f"authorization:\n [{{name: a, rules: {rules}}}]")) == expected


def test_deny_without_rules() -> None:
    """It denies nothing; ALLOW without rules is how everything is refused."""
    assert findings(with_listener("authorization: [{name: a, action: DENY}]")) == ["KP902 {name"]
    assert findings(with_listener("authorization: [{name: a, action: ALLOW}]")) == []
    assert findings(with_listener("authorization: [{name: a, action: AUDIT}]")) == ["KP215 AUDIT"]
