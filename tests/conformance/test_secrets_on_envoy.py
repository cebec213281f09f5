"""Certificates from files to a real Envoy: SDS, rotation, and mutual TLS on kvpilot's own ports."""

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.compile import AdsVariant, Node, Services, bootstrap, capabilities, compile_snapshot
from control_plane.compile.materials import Materials
from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.policy.security import EnvoyTls
from control_plane.sidecar.certificates import CertificateFiles, server_credentials
from control_plane.sidecar.envoy_process import EnvoyProcess
from control_plane.sidecar.picker_settings import picker_settings
from control_plane.xds.identity import Identity, allowed
from control_plane.xds.server import XdsServer
from control_plane.xds.snapshot import Snapshot, build_snapshot
from ext_proc.core.address import SocketAddress, parse_address
from ext_proc.core.picker import Picker
from ext_proc.service import PickerService
from protos.messages import load as load_messages
from tests.conformance.raw_http import Pod
from tests.kit.certificates import Authority, authority
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

pytestmark = pytest.mark.e2e

WAIT_S = 10.0
EDGE = "spiffe://corp/ns/edge/1"
POLICY = """\
kvpilot: v1
runtime: {kvpilot.test: 1}
controlPlane:
  xds: {tls: {mode: MUTUAL, serverCertificate: kvpilot.pem, privateKey: kvpilot-key.pem, caCertificates: ca.pem}}
  extProc:
    tls:
      mode: MUTUAL
      serverCertificate: kvpilot.pem
      privateKey: kvpilot-key.pem
      caCertificates: ca.pem
      envoy: {caCertificates: ca.pem, clientCertificate: edge.pem, privateKey: edge-key.pem, sni: kvpilot.corp}
listeners:
  - name: openai
    address: 127.0.0.1:LISTEN
    tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}
models: [{name: m, pool: chat}]
pools: {chat: {endpoints: [{address: "POD"}]}}
"""


@dataclass
class Plane:
    """A control plane as the sidecar puts it together: files, xDS, picker. Mutable: what is served, who came."""

    directory: Path
    policy: Policy
    allowed: tuple[str, ...]
    identities: list[Identity | None] = field(default_factory=list)
    nacks: list[str] = field(default_factory=list)
    served: dict[Node, Snapshot] = field(default_factory=dict)
    xds: str = ""
    picks: str = ""

    def __post_init__(self) -> None:
        self.files = CertificateFiles(self.directory, self._rotated)
        self.server = XdsServer(load_messages(), self._snapshot, time.monotonic, observer=self)
        picker = Picker(picker_settings(self.policy, static_fleet(self.policy), "v", "", ""))
        self.picker = PickerService(picker, load_messages(), time.monotonic, random.Random(1))

    async def start(self) -> None:
        self.files.start(self.policy)
        ports = self.policy.control_plane
        assert ports.ext_proc.tls is not None
        assert ports.xds.tls is not None
        [self.picks] = await self.picker.start(["127.0.0.1:0"], server_credentials(ports.ext_proc.tls, self.files))
        [self.xds] = await self.server.start(["127.0.0.1:0"], server_credentials(ports.xds.tls, self.files))

    async def stop(self) -> None:
        await self.picker.stop(0.5)
        await self.server.stop()
        await self.files.stop()

    def _snapshot(self, node: Node) -> Snapshot:
        services = Services(ext_proc=parse_address(self.picks))
        compiled = compile_snapshot(
            self.policy, static_fleet(self.policy), services, capabilities(node), "", "", materials=self.files.materials
        )
        return build_snapshot(compiled.by_type_url(), load_messages())

    def _rotated(self, materials: Materials) -> None:
        self.server.publish()

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """The rule of a group with identities."""
        self.identities.append(identity)
        return None if allowed(identity, self.allowed) else f"{identity} is not allowed here"

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Nothing to do."""

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Kept: nothing that is compiled here may be refused."""
        self.nacks.append(f"{type_url}: {text}")

    def disconnected(self, node: Node) -> None:
        """Nothing to do."""


@dataclass
class Stage:
    """What runs, and a client."""

    directory: Path
    ca: Authority
    plane: Plane
    envoy: EnvoyProcess
    pod: Pod
    listen: str

    def client(self, ca: Authority | None = None) -> aiohttp.ClientSession:
        """A client with a connection of its own that trusts an authority."""
        context = ssl.create_default_context(cafile=(ca or self.ca).file)
        context.check_hostname = False
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1))

    async def ask(self, client: aiohttp.ClientSession) -> tuple[int, Mapping[str, str]]:
        """Status and headers of a completion."""
        body = json.dumps({"model": "m", "prompt": "hi"})
        headers = {"content-type": "application/json", "x-kvpilot-explain": "1"}
        async with client.post(f"https://{self.listen}/v1/completions", data=body, headers=headers) as answer:
            await answer.read()
            return answer.status, answer.headers

    async def answers(self, client: aiohttp.ClientSession) -> Mapping[str, str]:
        """The headers of the first answer with status 200."""
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    status, headers = await self.ask(client)
                    if status == 200:
                        return headers
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)


@asynccontextmanager
async def stage(
    directory: Path, ads: AdsVariant = "delta", *, with_certificate: bool = True, identities: tuple[str, ...] = ()
) -> AsyncIterator[Stage]:
    """A pod, a control plane and an Envoy that trust each other through one authority."""
    ca = authority(directory)
    ca.issue("kvpilot", "kvpilot.corp")
    ca.issue("edge", EDGE)
    if with_certificate:
        ca.issue("server", "localhost")
    pod = Pod()
    await pod.start()
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    text = POLICY.replace("127.0.0.1:LISTEN", listen).replace("POD", pod.address)
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    plane = Plane(directory, result.document.policy, identities)
    await plane.start()
    settings: dict[str, Any] = {"node_id": "edge-1", "node_cluster": "edge", "region": "", "zone": "", "ads": ads}
    towards = EnvoyTls(
        ca_certificates=ca.file,
        client_certificate=str(directory / "edge.pem"),
        private_key=str(directory / "edge-key.pem"),
        sni="kvpilot.corp",
    )
    envoy = EnvoyProcess(
        directory / "envoy",
        bootstrap(
            bootstrap_template=bootstrap_template(),
            xds=parse_address(plane.xds),
            admin=SocketAddress("127.0.0.1", 0),
            xds_tls=towards,
            **settings,
        ),
        disposable=True,
    )
    try:
        envoy.start()
        yield Stage(directory, ca, plane, envoy, pod, listen)
    finally:
        await envoy.stop()
        await plane.stop()
        await pod.stop()


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_everything_over_mutual_tls(tmp_path: Path, ads: AdsVariant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy gets its configuration and its picks over mutual TLS; a rotation under load fails no request."""
    monkeypatch.setattr("control_plane.sidecar.certificates.POLL_S", 0.05)
    async with stage(tmp_path, ads, identities=("spiffe://corp/ns/edge/*",)) as on, on.client() as client:
        headers = await on.answers(client)
        assert set(on.plane.identities) == {Identity((EDGE,), "")}
        await _until_picked(on, client, headers)
        await _rotate_under_load(on, client)
        assert on.plane.nacks == []


async def _until_picked(on: Stage, client: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
    """The picker's port is found healthy within a moment; from then on answers carry a decision."""
    async with asyncio.timeout(WAIT_S):
        while "x-kvpilot-decision" not in headers:
            await asyncio.sleep(0.02)
            _, headers = await on.ask(client)


async def _rotate_under_load(on: Stage, open_client: aiohttp.ClientSession) -> None:
    """A new authority's certificate: connections that are open stay, new ones see it."""
    other = authority(on.directory, "other")
    statuses: list[int] = []
    done = asyncio.Event()

    async def load_up() -> None:
        while not done.is_set():
            statuses.append((await on.ask(open_client))[0])

    loading = asyncio.create_task(load_up())
    try:
        pair = other.pair("localhost")
        (on.directory / "server.pem").write_bytes(pair.certificate)
        await asyncio.sleep(0.2)  # half a rotation: must not be served
        async with on.client() as still:
            assert (await on.ask(still))[0] == 200
        (on.directory / "server-key.pem").write_bytes(pair.key)
        async with on.client(other) as fresh:
            await on.answers(fresh)
        await eventually(lambda: len(statuses) > 10, "requests during the rotation")
    finally:
        done.set()
        await loading
    assert set(statuses) == {200}


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_certificate_that_comes_late(tmp_path: Path, ads: AdsVariant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener comes up when its certificate is there; Envoy refuses nothing of what it was sent before."""
    monkeypatch.setattr("control_plane.sidecar.certificates.POLL_S", 0.05)
    async with stage(tmp_path, ads, with_certificate=False) as on, on.client() as client:
        async with asyncio.timeout(WAIT_S):
            while not on.plane.identities:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        with pytest.raises(aiohttp.ClientConnectorError):
            await on.ask(client)
        on.ca.issue("server", "localhost")
        await on.answers(client)
        assert on.plane.nacks == []


async def test_an_envoy_with_another_identity_gets_nothing(tmp_path: Path) -> None:
    """A certificate of the right authority is not enough where a group has identities."""
    async with stage(tmp_path, identities=("spiffe://corp/ns/other/*", "edge-gw")) as on, on.client() as client:
        async with asyncio.timeout(WAIT_S):
            while len(on.plane.identities) < 2:  # it came, was refused and came again
                await asyncio.sleep(0.05)
        with pytest.raises(aiohttp.ClientConnectorError):
            await on.ask(client)
        assert on.plane.server.status() == []
