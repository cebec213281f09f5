"""Everything that an end-to-end test needs: simulated pods, a kvpilot process and a real Envoy that it configures."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.compile import AdsVariant, bootstrap
from control_plane.openai_client import Answer, chat
from control_plane.sidecar.envoy_process import EnvoyProcess
from ext_proc.core.address import SocketAddress, parse_address
from sim.fleet import SimFleet
from tests.kit.kvpilot import Kvpilot
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

T = TypeVar("T")

MODES = ("one-message", "two-message")

PATIENCE = "5s"
"""How long Envoy waits for a pick, in the small policy: a picker that is late is a busy machine there, and no test."""


@dataclass(slots=True)
class PolicyText:
    """A small policy as text: pools of addresses, models over them. Mutable: a test edits it and writes it again."""

    pools: dict[str, list[str]] = field(default_factory=dict)
    """Pool → addresses of its endpoints."""
    models: dict[str, str] = field(default_factory=dict)
    """Model → pool."""
    aliases: dict[str, list[str]] = field(default_factory=dict)
    strategy: str = "kv-aware"
    engine: str = "vllm"
    mode: str = "one-message"
    listen: str = ""
    listener: str = ""
    """Further fields of the listener, flow style: `maxRequestBytes: 1MiB`."""
    pool: str = ""
    """Further fields of every pool, flow style: `timeouts: {firstByte: 1s}`."""
    weights: dict[str, int] = field(default_factory=dict)
    text: str = ""
    """A whole policy instead of all the above, with `LISTEN` where the address of its first listener belongs."""

    def render(self) -> str:
        """The YAML."""
        if self.text:
            return self.text.replace("LISTEN", self.listen)
        lines = ["kvpilot: v1", "listeners:"]
        more = f", {self.listener}" if self.listener else ""
        picker = f"{{mode: {self.mode}, explain: always, messageTimeout: {PATIENCE}}}"
        lines.append(f"  - {{name: openai, address: {self.listen}, picker: {picker}{more}}}")
        lines.append("models:")
        for model, pool in self.models.items():
            aliases = ", ".join(self.aliases.get(model, []))
            lines.append(f"  - {{name: {model}, aliases: [{aliases}], pool: {pool}}}")
        lines.append("pools:")
        for pool, addresses in self.pools.items():
            more = f", {self.pool}" if self.pool else ""
            endpoints = ", ".join(
                f"{{address: {address}, weight: {self.weights.get(address, 100)}}}" for address in addresses
            )
            lines.append(
                f"  {pool}: {{engine: {self.engine}, picker: {{strategy: {self.strategy}}}, "
                f"endpoints: [{endpoints}]{more}}}"
            )
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Mesh:
    """What runs."""

    kvpilot: Kvpilot
    envoy: EnvoyProcess
    policy: PolicyText
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://{self.policy.listen}"

    async def chat(self, model: str, prompt: str | Sequence[Mapping[str, object]], **options: Any) -> Answer:
        """One chat completion through Envoy."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return await chat(self.session, self.url, model, messages, **options)

    async def decision(self, decision_id: str) -> Any:
        """The decision once its outcome is known."""

        async def told() -> Any:
            found = await self.kvpilot.get(f"/decisions/{decision_id}")
            return found if (found.get("outcome") or {}).get("status") else None

        return await eventually(told, "the access log's record of a decision")

    async def edit(self) -> None:
        """Writes the policy as it is now and waits until it is applied and Envoy has it."""
        before = (await self.kvpilot.get("/status"))["policy"]["version"]
        self.kvpilot.policy.write_text(self.policy.render())

        async def applied() -> bool:
            return bool((await self.kvpilot.get("/status"))["policy"]["version"] != before) and await self.is_synced()

        await eventually(applied, "the edit to be applied")

    async def is_synced(self) -> bool:
        """Whether Envoy has ACKed all that it was sent."""
        envoys = (await self.kvpilot.get("/status"))["envoys"]
        return bool(envoys) and all(
            kind["state"] == "SYNCED"
            for envoy in envoys
            for kind in envoy["types"].values()
            if kind["state"] != "NOT_SENT"
        )

    async def stats(self, text_filter: str) -> dict[str, int]:
        """Envoy's counters and gauges whose name matches the regular expression."""
        body = await self.envoy_admin(f"/stats?usedonly&filter={text_filter}")
        found = {}
        for line in body.splitlines():
            name, _, value = line.rpartition(": ")
            if value.isdigit():
                found[name] = int(value)
        return found

    async def envoy_admin(self, path: str) -> str:
        """The text at `path` of Envoy's admin server."""
        async with self.session.get(f"http://{self.envoy.admin_address()}{path}") as response:
            assert response.status == 200, f"{path}: {response.status}"
            return await response.text()

    async def in_flight(self) -> dict[str, int]:
        """Address → requests that the picker believes to be in flight there."""
        pools = (await self.kvpilot.get("/status"))["pools"]
        return {endpoint["address"]: endpoint["in_flight"] for pool in pools.values() for endpoint in pool["endpoints"]}


@asynccontextmanager
async def mesh(
    directory: Path, policy: PolicyText, *, ads: AdsVariant = "delta", zone: str = "", arguments: Sequence[str] = ()
) -> AsyncIterator[Mesh]:
    """kvpilot and Envoy under `policy`, connected and ready; both ended at the exit.

    `arguments` are further words of kvpilot's command line.
    """
    if not policy.listen:
        policy.listen = f"127.0.0.1:{free_ports(1)[0]}"
    path = directory / "policy.yaml"
    path.write_text(policy.render())
    kvpilot = Kvpilot(path, "--zone", zone, *arguments)
    envoy = EnvoyProcess(
        directory / "envoy",
        bootstrap(
            bootstrap_template=bootstrap_template(),
            xds=parse_address(kvpilot.xds),
            node_id="test",
            node_cluster="test",
            region="",
            zone=zone,
            ads=ads,
            admin=SocketAddress("127.0.0.1", 0),
        ),
        disposable=True,
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            await kvpilot.start()
            envoy.start()
            await envoy.wait_ready()
            yield Mesh(kvpilot, envoy, policy, session)
        finally:
            await envoy.stop()
            await kvpilot.stop()
            if os.environ.get("KVPILOT_TEST_LOGS"):
                print(kvpilot.log.read_text(), envoy.log_path.read_text(), sep="\n--- envoy ---\n")


__all__ = ["MODES", "Mesh", "PolicyText", "SimFleet", "mesh"]
