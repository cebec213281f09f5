"""Certificates with a whole kvpilot: served from files, rotated, and told in the status."""

import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.kit.certificates import Authority, authority
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

pytestmark = pytest.mark.e2e

POLICY = """\
kvpilot: v1
controlPlane:
  extProc:
    tls:
      mode: MUTUAL
      serverCertificate: kvpilot.pem
      privateKey: kvpilot-key.pem
      caCertificates: ca.pem
      envoy: {caCertificates: ca.pem, clientCertificate: envoy.pem, privateKey: envoy-key.pem, sni: kvpilot.corp}
listeners:
  - name: openai
    address: LISTEN
    picker: {explain: always}
    tls: {mode: MUTUAL, serverCertificate: server.pem, privateKey: server-key.pem, caCertificates: ca.pem}
    authorization:
      - name: apps
        rules: [{from: [{source: {principals: ["spiffe://corp/ns/apps/*"]}}]}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: "POD"}]}}
"""


def client(ca: Authority, name: str, trusted: Authority | None = None) -> aiohttp.ClientSession:
    """A client with a certificate for `name`, and a connection of its own."""
    context = ssl.create_default_context(cafile=(trusted or ca).file)
    context.check_hostname = False
    context.load_cert_chain(*ca.issue("client", name))
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def ask(on: Mesh, session: aiohttp.ClientSession) -> tuple[int, Mapping[str, str]]:
    """Status and headers of a completion; status 0 where there was no connection."""
    url = f"https://{on.policy.listen}/v1/completions"
    try:
        async with session.post(url, json={"model": "llama", "prompt": "hi"}) as answer:
            await answer.read()
            return answer.status, answer.headers
    except aiohttp.ClientConnectionError:
        return 0, {}


async def states(on: Mesh) -> dict[str, str]:
    """Place in the policy → state of what is named there."""
    return {row["policy"]: row["state"] for row in (await on.kvpilot.get("/status"))["certificates"]}


async def test_mutual_tls_on_all_sides(tmp_path: Path) -> None:
    """Picks come over mutual TLS; clients are who their certificates say; a rotation needs nothing but new files."""
    ca = authority(tmp_path)
    ca.issue("kvpilot", "kvpilot.corp")
    ca.issue("envoy", "spiffe://corp/ns/edge/1")
    ca.issue("server", "localhost")
    async with quick_fleet(1, "llama") as pods:
        text = POLICY.replace("POD", pods.addresses[0])
        async with mesh(tmp_path, PolicyText(text=text)) as on, client(ca, "spiffe://corp/ns/apps/a") as app:

            async def is_picked() -> bool:
                status, headers = await ask(on, app)
                return status == 200 and "x-kvpilot-decision" in headers

            await eventually(is_picked, "a pick over mutual TLS")
            async with client(ca, "spiffe://corp/ns/batch/a") as batch:
                assert (await ask(on, batch))[0] == 403
            await rotated(on, ca, app)


async def rotated(on: Mesh, ca: Authority, app: aiohttp.ClientSession) -> None:
    """New files of another authority: half of them changes nothing and is told, all of them are served."""
    place = "listeners.openai.tls.serverCertificate"
    other = authority(ca.directory, "other")
    pair = other.pair("localhost")
    (ca.directory / "server.pem").write_bytes(pair.certificate)

    async def is_stale() -> bool:
        return (await states(on))[place] == "stale"

    await eventually(is_stale, "the half rotation to be told")
    async with client(ca, "spiffe://corp/ns/apps/b") as still:
        assert (await ask(on, still))[0] == 200
    (ca.directory / "server-key.pem").write_bytes(pair.key)

    async def is_served() -> bool:
        async with client(ca, "spiffe://corp/ns/apps/c", trusted=other) as fresh:
            return (await ask(on, fresh))[0] == 200

    await eventually(is_served, "the new certificate")
    assert (await ask(on, app))[0] == 200
    assert set((await states(on)).values()) == {"ok"}
