"""TLS, tokens and authorization as compiled, on a real Envoy."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.compile import NEWEST_TESTED, Node, Services, capabilities, compile_snapshot, static_bootstrap
from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from control_plane.sidecar.certificates import CertificateFiles
from ext_proc.core.address import SocketAddress
from tests.conformance.envoy_lab import Envoy, running
from tests.kit.certificates import Authority, authority
from tests.kit.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ISSUER = "https://idp.corp"
LISTENERS = ("closed", "simple", "mutual", "optional", "tokens", "lax", "fetched")
POLICY = """\
kvpilot: v1
listeners:
  - {name: closed, address: "127.0.0.1:CLOSED", authorization: [{name: nobody}]}
  - name: simple
    address: 127.0.0.1:SIMPLE
    tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem, minProtocolVersion: TLSV1_3}
  - name: mutual
    address: 127.0.0.1:MUTUAL
    tls:
      mode: MUTUAL
      serverCertificate: server.pem
      privateKey: server-key.pem
      caCertificates: ca.pem
      subjectAltNames: ["spiffe://corp/*"]
    authorization:
      - name: edge
        rules: [{from: [{source: {principals: ["corp/ns/edge/*"]}}]}]
  - name: optional
    address: 127.0.0.1:OPTIONAL
    tls:
      mode: OPTIONAL_MUTUAL
      serverCertificate: server.pem
      privateKey: server-key.pem
      caCertificates: ca.pem
    authorization:
      - name: named
        rules: [{from: [{source: {principals: ["*"]}}]}, {to: [{operation: {paths: [/open]}}]}]
  - name: tokens
    address: 127.0.0.1:TOKENS
    jwt:
      - name: corp
        issuer: https://idp.corp
        audiences: [llm]
        jwksFile: keys.json
        required: true
        outputClaimToHeaders: [{header: x-tenant, claim: org.tenant}]
    authorization:
      - name: nobody-deletes
        action: DENY
        rules: [{to: [{operation: {methods: [DELETE], notPaths: [/mine/*]}}]}]
      - name: some
        rules:
          - to: [{operation: {paths: [/v1/chat/*]}}]
            when: [{key: "request.auth.claims[org][tier]", values: [premium]}]
          - to: [{operation: {paths: [/mine/*, "*/mine"]}}]
            from: [{source: {requestPrincipals: ["https://idp.corp/alice"]}}]
          - when:
              - {key: "request.auth.claims[scope]", values: [admin]}
              - {key: "request.headers[x-reason]", values: ["*"], notValues: [none]}
          - to: [{operation: {paths: [/level]}}]
            when: [{key: "request.auth.claims[level]", values: ["7"]}]
          - when:
              - {key: "request.auth.claims[staff]", values: ["true"]}
              - {key: request.model, values: [m]}
  - name: lax
    address: 127.0.0.1:LAX
    jwt:
      - name: corp
        issuer: https://idp.corp
        jwksFile: keys.json
        fromHeaders: [{name: x-token, prefix: "T "}]
        fromParams: [t]
        forwardOriginalToken: true
      - {name: gone, issuer: https://gone.corp, jwksFile: gone.json}
    authorization:
      - name: internal
        action: DENY
        rules:
          - from: [{source: {notRequestPrincipals: ["*"]}}]
            to: [{operation: {paths: [/internal]}}]
          - when: [{key: source.ip, notValues: [127.0.0.0/8]}]
          - to: [{operation: {hosts: [evil.corp, "*.evil.corp"]}}]
          - to: [{operation: {ports: [1]}}]
  - name: fetched
    address: 127.0.0.1:FETCHED
    jwt:
      - name: corp
        issuer: https://idp.corp
        jwksUri: https://localhost:IDP/keys
        caCertificates: ca.pem
        required: true
      - {name: second, issuer: https://second.corp, jwksFile: second.json, required: true}
      - {name: extra, issuer: https://extra.corp, jwksFile: second.json, fromHeaders: [{name: x-extra}]}
rules:
  - {name: suspended, match: {headers: {x-tenant: {exact: suspended}}}, directResponse: {status: 429, message: "Pay."}}
models:
  - {name: m, pool: plain}
  - {name: secure, pool: secure}
  - {name: wrong, pool: wrong}
  - {name: lazy, pool: lazy}
pools:
  plain: {endpoints: [{address: "127.0.0.1:PLAINPOD"}]}
  secure:
    endpoints: [{address: "127.0.0.1:TLSPOD"}]
    trafficPolicy:
      tls:
        mode: MUTUAL
        clientCertificate: gateway.pem
        privateKey: gateway-key.pem
        caCertificates: ca.pem
        subjectAltNames: [pod.corp]
  wrong:
    endpoints: [{address: "127.0.0.1:TLSPOD"}]
    trafficPolicy:
      tls:
        mode: MUTUAL
        clientCertificate: gateway.pem
        privateKey: gateway-key.pem
        caCertificates: ca.pem
        subjectAltNames: [other.corp]
    retries: {attempts: 0}
  lazy:
    endpoints: [{address: "127.0.0.1:TLSPOD"}]
    trafficPolicy:
      tls: {mode: MUTUAL, clientCertificate: gateway.pem, privateKey: gateway-key.pem, insecureSkipVerify: true}
"""

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("corp", "second", "stranger")}
"""The keys that tokens are signed with: the issuers', and one that nobody trusts."""


def key_set(name: str) -> str:
    """The public key as a JSON Web Key Set."""
    key = jwt.algorithms.ECAlgorithm.to_jwk(KEYS[name].public_key(), as_dict=True)
    return json.dumps({"keys": [{**key, "kid": name, "alg": "ES256"}]})


def token(signer: str = "corp", *, age_s: float = 0.0, **claims: object) -> str:
    """A token of `ISSUER` for the audience of the test's listener; `age_s` lets it end in the past."""
    payload: dict[str, object] = {"iss": ISSUER, "sub": "bob", "aud": "llm", "exp": int(time.time() + 600 - age_s)}
    return jwt.encode(payload | claims, KEYS[signer], algorithm="ES256", headers={"kid": signer})


def bearer(*arguments: Any, **claims: Any) -> dict[str, str]:
    """The header that a client sends."""
    return {"authorization": f"Bearer {token(*arguments, **claims)}"}


@dataclass
class Echo:
    """An HTTP server that answers with what it was sent; with `context` over TLS."""

    port: int
    context: ssl.SSLContext | None = None
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/keys", self._keys)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=self.context).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def _keys(self, request: web.Request) -> web.Response:
        return web.Response(text=key_set("corp"))

    async def _echo(self, request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peercert") if request.transport else None
        names = [value for _, value in (peer or {}).get("subjectAltName", ())]
        return web.json_response({"headers": dict(request.headers), "query": request.query_string, "peer": names})


@dataclass
class Lab:
    """What runs."""

    ca: Authority
    ports: dict[str, int]
    session: aiohttp.ClientSession

    async def ask(
        self,
        listener: str,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        model: str = "m",
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        url = f"{'https' if tls else 'http'}://127.0.0.1:{self.ports[listener]}{path}"
        options: dict[str, Any] = {"ssl": tls} if tls else {}
        body = {"model": model, "messages": []}
        async with self.session.request(method, url, json=body, headers=headers, **options) as answer:
            return answer.status, await answer.json()

    def trusting(self, *names: str, ca: Authority | None = None) -> ssl.SSLContext:
        """What a client has that trusts the lab's authority; with a certificate for `names`, if there are any."""
        context = ssl.create_default_context(cafile=self.ca.file)
        context.check_hostname = False
        if names:
            context.load_cert_chain(*(ca or self.ca).issue("client", *names))
        return context


def pod_context(ca: Authority) -> ssl.SSLContext:
    """A pod that has a certificate and wants one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca.file)
    context.load_cert_chain(*ca.issue("pod", "pod.corp"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One Envoy with all listeners, a plain pod, one with mutual TLS, and an issuer's key server."""
    directory: Path = tmp_path_factory.mktemp("security")
    ca = authority(directory)
    ca.issue("server", "localhost")
    ca.issue("gateway", "spiffe://corp/ns/edge/gateway")
    (directory / "keys.json").write_text(key_set("corp"))
    (directory / "second.json").write_text(key_set("second"))
    names = (*LISTENERS, "plainpod", "tlspod", "idp")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    idp = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    idp.load_cert_chain(*ca.issue("idp", "localhost"))
    envoy = Envoy(directory, bootstrap_of(directory, ports))
    pods = (Echo(ports["plainpod"]), Echo(ports["tlspod"], pod_context(ca)), Echo(ports["idp"], idp))
    async with running(*pods, envoy), aiohttp.ClientSession() as session:
        yield Lab(ca, ports, session)


def bootstrap_of(directory: Path, ports: Mapping[str, int]) -> dict[str, object]:
    """The policy on these ports, compiled for an Envoy without a control plane."""
    text = POLICY
    for name in sorted(ports, key=len, reverse=True):
        text = text.replace(f":{name.upper()}", f":{ports[name]}")
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    policy = result.document.policy
    files = CertificateFiles(directory)
    files.apply(policy)
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9))
    wanted = capabilities(Node(id="x", version=NEWEST_TESTED))
    compiled = compile_snapshot(policy, static_fleet(policy), services, wanted, "", "", materials=files.materials)
    return static_bootstrap(compiled)


async def test_tls_to_clients(lab: Lab) -> None:
    """A client that trusts the authority gets through, on TLS 1.3 only, as the policy says."""
    assert (await lab.ask("simple", tls=lab.trusting()))[0] == 200
    old = lab.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(aiohttp.ClientConnectorError):
        await lab.ask("simple", tls=old)
    with pytest.raises(aiohttp.ClientConnectorError):
        await lab.ask("simple", tls=ssl.create_default_context())
    with pytest.raises(aiohttp.ClientError):
        await lab.ask("simple")


async def test_mutual_tls_with_clients(lab: Lab) -> None:
    """Without a certificate, or with one of a stranger or of another name: no connection. With another role: 403."""
    assert (await lab.ask("mutual", tls=lab.trusting("spiffe://corp/ns/edge/1")))[0] == 200
    stranger = authority(lab.ca.directory, "stranger")
    for context in (
        lab.trusting(),
        lab.trusting("spiffe://corp/ns/edge/1", ca=stranger),
        lab.trusting("spiffe://else/ns/edge/1"),
    ):
        with pytest.raises(aiohttp.ClientError):
            await lab.ask("mutual", tls=context)
    status, answer = await lab.ask("mutual", tls=lab.trusting("spiffe://corp/ns/batch/1"))
    assert (status, answer["error"]["code"]) == (403, "forbidden")


async def test_optional_mutual_tls(lab: Lab) -> None:
    """A client may come without a certificate; rules then see no principal."""
    assert (await lab.ask("optional", tls=lab.trusting("spiffe://x/y")))[0] == 200
    assert (await lab.ask("optional", tls=lab.trusting()))[0] == 403
    assert (await lab.ask("optional", "/open", tls=lab.trusting()))[0] == 200


async def test_tls_to_pods(lab: Lab) -> None:
    """The pod sees the gateway's certificate; a pod with another name than the policy's gets nothing."""
    status, answer = await lab.ask("lax", model="secure")
    assert (status, answer["peer"]) == (200, ["spiffe://corp/ns/edge/gateway"])
    status, answer = await lab.ask("lax", model="wrong")
    assert (status, answer["error"]["code"]) == (503, "service_unavailable")
    assert (await lab.ask("lax", model="lazy"))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        bearer(age_s=7200),
        bearer("stranger"),
        bearer(iss="https://else.corp"),
    ],
    ids=["missing", "nonsense", "expired", "signature", "issuer"],
)
async def test_a_token_is_required(lab: Lab, headers: dict[str, str]) -> None:
    """Without a good token: 401, in the shape that OpenAI's clients read."""
    status, answer = await lab.ask("tokens", headers=headers)
    assert (status, answer["error"]["code"]) == (401, "invalid_token")


async def test_a_token_for_somebody_else(lab: Lab) -> None:
    """A good token with another audience is Envoy's 403: who it is is known, and it is not for here."""
    status, answer = await lab.ask("tokens", headers=bearer(aud="other"))
    assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "claims", "more", "expected"),
    [
        ("/v1/chat/completions", {"org": {"tier": "premium"}}, {}, 200),
        ("/v1/chat/completions", {"org": {"tier": ["free", "premium"]}}, {}, 200),
        ("/v1/chat/completions", {"org": {"tier": "free"}}, {}, 403),
        ("/v1/chat/completions", {}, {}, 403),
        ("/v1/completions", {"org": {"tier": "premium"}}, {}, 403),
        ("/mine/x", {"sub": "alice"}, {}, 200),
        ("/not/mine", {"sub": "alice"}, {}, 200),
        ("/mine/x", {"sub": "bob"}, {}, 403),
        ("/any", {"scope": "read admin"}, {"x-reason": "night shift"}, 200),
        ("/any", {"scope": "read admin"}, {"x-reason": "none"}, 403),
        ("/any", {"scope": "read admin"}, {}, 403),
        ("/any", {"scope": "administrator"}, {"x-reason": "x"}, 403),
        ("/level", {"level": 7}, {}, 200),
        ("/level", {"level": [3, 7]}, {}, 200),
        ("/level", {"level": 8}, {}, 403),
        ("/any", {"staff": True}, {}, 403),
        ("/v1/completions", {"staff": True}, {}, 200),
        ("/v1/completions", {"staff": False}, {}, 403),
    ],
)
async def test_rules(lab: Lab, path: str, claims: dict[str, Any], more: dict[str, str], expected: int) -> None:
    """Claims of every type, nested ones, subjects, headers, paths and the body's model decide; all else is refused."""
    status, answer = await lab.ask("tokens", path, headers={**bearer(**claims), **more})
    assert status == expected, answer


async def test_allow_without_rules(lab: Lab) -> None:
    """Nobody gets in: nothing matches, and once there is an ALLOW policy something has to."""
    assert (await lab.ask("closed"))[0] == 403


async def test_deny_comes_first(lab: Lab) -> None:
    """What a DENY rule matches is refused although an ALLOW rule matches, too."""
    headers = {**bearer(sub="alice", scope="admin"), "x-reason": "x"}
    assert (await lab.ask("tokens", "/any", method="DELETE", headers=headers))[0] == 403
    assert (await lab.ask("tokens", "/mine/x", method="DELETE", headers=headers))[0] == 200


async def test_claims_become_headers(lab: Lab) -> None:
    """The pod is told a claim in a header; the token is taken off, and nobody forges the header."""
    headers = {**bearer(org={"tier": "premium", "tenant": "acme"}), "x-tenant": "forged"}
    _, answer = await lab.ask("tokens", headers=headers)
    assert answer["headers"].get("x-tenant") == "acme"
    assert "Authorization" not in answer["headers"]
    _, answer = await lab.ask("tokens", headers={**bearer(org={"tier": "premium"}), "x-tenant": "forged"})
    assert "x-tenant" not in answer["headers"]


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/chat/completions", "POST"), ("/v1/chat/completions", "GET"), ("/v1/chat/x", "POST")]
)
async def test_rules_see_claims_as_headers(lab: Lab, path: str, method: str) -> None:
    """A rule on such a header decides for calls and for all other requests, by the token and not by the client."""
    claims = {"org": {"tier": "premium", "tenant": "suspended"}}
    status, answer = await lab.ask("tokens", path, method=method, headers=bearer(**claims))
    assert (status, answer["error"]["message"]) == (429, "Pay.")
    forged = {**bearer(org={"tier": "premium"}), "x-tenant": "suspended"}
    assert (await lab.ask("tokens", path, method=method, headers=forged))[0] == 200


async def test_tokens_that_are_not_required(lab: Lab) -> None:
    """Without a token a request passes, with a bad one it does not; the token's place is the policy's."""
    assert (await lab.ask("lax"))[0] == 200
    assert (await lab.ask("lax", headers={"x-token": f"T {token()}"}))[0] == 200
    assert (await lab.ask("lax", headers={"x-token": f"T {token('stranger')}"}))[0] == 401
    assert (await lab.ask("lax", f"/x?t={token()}", method="GET"))[0] == 200
    assert (await lab.ask("lax", f"/x?t={token(age_s=7200)}", method="GET"))[0] == 401
    _, answer = await lab.ask("lax", headers={"x-token": f"T {token()}"})
    assert answer["headers"]["x-token"].startswith("T ")


async def test_an_issuer_whose_keys_are_missing(lab: Lab) -> None:
    """Its tokens are refused, and the other issuer's are not touched by it."""
    assert (await lab.ask("lax", headers=bearer(iss="https://gone.corp")))[0] == 401
    assert (await lab.ask("lax", headers={"x-token": f"T {token()}"}))[0] == 200


async def test_deny_rules(lab: Lab) -> None:
    """A path without a token, and hosts in any case with any port."""
    assert (await lab.ask("lax", "/internal"))[0] == 403
    assert (await lab.ask("lax", "/internal", headers={"x-token": f"T {token()}"}))[0] == 200
    for host in ("evil.corp", "EVIL.corp:8080", "a.evil.corp"):
        assert (await lab.ask("lax", headers={"host": host}))[0] == 403
    assert (await lab.ask("lax", headers={"host": "evil.corporation"}))[0] == 200


async def test_keys_that_envoy_fetches(lab: Lab) -> None:
    """Keys from an https server of the policy's authority; with two required issuers a token of one is enough."""
    assert (await lab.ask("fetched", headers=bearer()))[0] == 200
    assert (await lab.ask("fetched", headers=bearer("second", iss="https://second.corp")))[0] == 200
    assert (await lab.ask("fetched", headers=bearer("second")))[0] == 401
    assert (await lab.ask("fetched"))[0] == 401


async def test_required_and_other_tokens_at_once(lab: Lab) -> None:
    """A second token that is not required must be valid if it is sent, and does not replace the required one."""
    extra = {"x-extra": token("second", iss="https://extra.corp")}
    assert (await lab.ask("fetched", headers={**bearer(), **extra}))[0] == 200
    assert (await lab.ask("fetched", headers={**bearer(), "x-extra": token("stranger", iss="https://extra.corp")}))[
        0
    ] == 401
    assert (await lab.ask("fetched", headers=extra))[0] == 401
