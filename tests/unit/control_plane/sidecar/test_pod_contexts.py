"""TLS to pods for their metrics: the same peers as Envoy takes, and no others."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar.certificates import CertificateFiles
from control_plane.sidecar.pod_contexts import PodContexts, has_name
from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.signals.scrape import Scraper
from tests.kit.certificates import Authority, authority

MUTUAL = "mode: MUTUAL, clientCertificate: us.pem, privateKey: us-key.pem, caCertificates: ca.pem"


def policy(tls: str) -> Policy:
    """A policy whose pool has this TLS."""
    text = (
        "kvpilot: v1\n"
        "listeners: [{name: openai, address: 127.0.0.1:8080}]\n"
        "models: [{name: llama, pool: chat}]\n"
        f"pools: {{chat: {{endpoints: [{{address: 10.0.0.1:8000}}], trafficPolicy: {{tls: {{{tls}}}}}}}}}\n"
    )
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document.policy


def test_tokens(tmp_path: Path) -> None:
    """A pool that names a file has its token, none while the file is missing, and the next one once it is there."""
    result = load(
        "kvpilot: v1\n"
        "listeners: [{name: openai, address: 127.0.0.1:8080}]\n"
        "models: [{name: llama, pool: chat}, {name: other, pool: open}]\n"
        "pools:\n"
        "  chat: {endpoints: [{address: 10.0.0.1:8000}], scrape: {bearerTokenFile: token}}\n"
        "  open: {endpoints: [{address: 10.0.0.2:8000}]}\n",
        "policy.yaml",
    )
    assert result.document is not None
    files = CertificateFiles(tmp_path, is_quiet=True)
    files.apply(result.document.policy)
    pods = PodContexts(files)
    assert [pods.token_of(pool) for pool in ("chat", "open", "nobody")] == [None, "", ""]
    for content, token in (("first\n", "first"), ("second", "second"), ("not a token", "second")):
        (tmp_path / "token").write_text(content)
        files.look()
        assert pods.token_of("chat") == token
    assert files.status()[0]["state"] == "stale"


def test_tokens_for_exporters(tmp_path: Path) -> None:
    """They are not those for metrics: either pool's token goes to whom it is for."""
    result = load(
        "kvpilot: v1\n"
        "listeners: [{name: openai, address: 127.0.0.1:8080}]\n"
        "models: [{name: llama, pool: chat}, {name: other, pool: open}]\n"
        "pools:\n"
        "  chat: {endpoints: [{address: 10.0.0.1:8000}], health: {gpu: {bearerTokenFile: token}}}\n"
        "  open: {endpoints: [{address: 10.0.0.2:8000}], health: {gpu: {}}, scrape: {bearerTokenFile: other}}\n",
        "policy.yaml",
    )
    assert result.document is not None
    files = CertificateFiles(tmp_path, is_quiet=True)
    files.apply(result.document.policy)
    pods = PodContexts(files)
    assert [pods.gpu_token_of(pool) for pool in ("chat", "open", "nobody")] == [None, "", ""]
    (tmp_path / "token").write_text("secret\n")
    files.look()
    assert (pods.gpu_token_of("chat"), pods.token_of("chat")) == ("secret", "")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """An authority with a certificate for us."""
    made = authority(tmp_path)
    made.issue("us", "spiffe://corp/kvpilot")
    return made


@pytest_asyncio.fixture
async def pod(ca: Authority) -> AsyncIterator[str]:
    """The address of a pod that wants a certificate and shows one for `pod.corp`."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text="vllm:num_requests_running 3.0\nvllm:num_requests_waiting 1.0\n")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca.file)
    context.load_cert_chain(*ca.issue("pod", "pod.corp", "spiffe://corp/pods/a"))
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def scraped(address: str, directory: Path, tls: str) -> Scraped | ScrapeFailed:
    """What one scrape of a pod gives."""
    files = CertificateFiles(directory)
    files.apply(policy(tls))
    events: list[Scraped | ScrapeFailed] = []
    scraper = Scraper(on_event=events.append, clock=time.monotonic, rng=random.Random(1), pod_tls=PodContexts(files).of)
    scraper.start()
    try:
        scraper.set_endpoints({address: "vllm"}, {address: "chat"})
        async with asyncio.timeout(20):
            while not events:
                await asyncio.sleep(0.01)
        return events[0]
    finally:
        await scraper.stop()


@pytest.mark.parametrize(
    "more",
    [
        "",
        ", subjectAltNames: [pod.corp]",
        ", subjectAltNames: [other.corp, 'spiffe://corp/pods/*']",
        ", subjectAltNames: ['*.corp']",
        ", sni: pod.corp",
        ", insecureSkipVerify: true",
    ],
)
async def test_the_right_pod(pod: str, tmp_path: Path, more: str) -> None:
    """It is read over mutual TLS."""
    found = await scraped(pod, tmp_path, MUTUAL + more)
    assert isinstance(found, Scraped), found
    assert found.running == 3


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        (MUTUAL + ", subjectAltNames: [other.corp]", "none of the names in `subjectAltNames`"),
        (MUTUAL + ", sni: spiffe", "none of the names in `subjectAltNames`"),
        (MUTUAL.replace("ca.pem", "gone.pem"), "the certificates for its pool are missing"),
        (MUTUAL.replace("us", "gone"), "the certificates for its pool are missing"),
        ("mode: SIMPLE, caCertificates: stranger.pem", "certificate verify failed"),
        ("mode: DISABLE", ""),
    ],
)
async def test_another_pod(pod: str, ca: Authority, tmp_path: Path, tls: str, reason: str) -> None:
    """It is not read, and the reason is told."""
    authority(tmp_path, "stranger")
    found = await scraped(pod, tmp_path, tls)
    assert isinstance(found, ScrapeFailed)
    assert reason in found.reason


def test_a_rotation_counts_at_once(ca: Authority, tmp_path: Path) -> None:
    """The same context as long as nothing changes, another one for new files or another policy."""
    files = CertificateFiles(tmp_path)
    contexts = PodContexts(files)
    assert contexts.of("chat") is None
    files.apply(policy(MUTUAL))
    first = contexts.of("chat")
    assert first is not None
    assert contexts.of("chat") is first
    ca.issue("us", "spiffe://corp/kvpilot")
    files.look()
    assert contexts.of("chat") is not first
    files.apply(policy("mode: DISABLE"))
    assert contexts.of("chat") is None
    assert contexts.of("unknown") is None


@pytest.mark.parametrize(
    ("kind", "value", "name", "expected"),
    [
        ("DNS", "pod.corp", "POD.corp", True),
        ("DNS", "*.corp", "pod.corp", True),
        ("DNS", "*.corp", "a.pod.corp", False),
        ("DNS", "pod.corp", "*.corp", True),
        ("DNS", "spiffe://a/b", "spiffe://a/b", False),
        ("URI", "spiffe://a/b", "spiffe://a/*", True),
        ("URI", "spiffe://a/b", "spiffe://a", False),
        ("IP Address", "10.0.0.1", "10.0.0.1", True),
        ("IP Address", "0:0:0:0:0:0:0:1", "::1", True),
        ("IP Address", "10.0.0.1", "10.0.0.2", False),
    ],
)
def test_names(kind: str, value: str, name: str, expected: bool) -> None:
    """Names are compared within their kind, as Envoy does."""
    certificate: dict[str, Any] = {"subjectAltName": ((kind, value),)}
    assert has_name(certificate, (name,)) is expected
    assert not has_name({}, (name,))
