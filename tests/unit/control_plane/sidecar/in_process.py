"""A sidecar in the test's own process: real servers on ports of the system's choice, no Envoy, a clock that stands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from control_plane.sidecar.options import SidecarOptions
from control_plane.sidecar.sidecar import Sidecar
from control_plane.xds.kinds import ENDPOINTS
from tests.kit.waiting import eventually
from tests.unit.control_plane.xds.ads_client import AdsClient

FIRST, SECOND, THIRD = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"
BOTH_ROLES = frozenset({"xds", "picker"})


def policy_text(*addresses: str, strategy: str = "round-robin") -> str:
    """One model `m` with an alias, one pool `p`; its engine is of a kind that is not scraped."""
    endpoints = ", ".join(f"{{address: {address}}}" for address in addresses or (FIRST, SECOND))
    return f"""\
kvpilot: v1
listeners: [{{name: openai, address: 127.0.0.1:8080}}]
models: [{{name: m, aliases: [gpt-4], pool: p}}]
pools: {{p: {{engine: custom, picker: {{strategy: {strategy}}}, endpoints: [{endpoints}]}}}}
"""


class Clock:
    """Mutable: `now`, moved by the test alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def options(directory: Path, text: str | None = None, **changes: Any) -> SidecarOptions:
    """Options of a sidecar under this policy, all ports from the system."""
    policy = directory / "policy.yaml"
    policy.write_text(policy_text() if text is None else text)
    free = {"xds": "127.0.0.1:0", "ext_proc": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    return SidecarOptions(policy=policy, **{**free, **changes})


@asynccontextmanager
async def running(directory: Path, text: str | None = None, **changes: Any) -> AsyncIterator[Sidecar]:
    """A started sidecar, stopped at the exit; its clock is a `Clock`."""
    sidecar = Sidecar(options(directory, text, **changes), clock=Clock())
    await sidecar.start()
    try:
        yield sidecar
    finally:
        await sidecar.stop()


async def edit(sidecar: Sidecar, text: str) -> None:
    """What the policy watch does with a settled new content, without its half second."""
    assert sidecar.edits is not None
    await sidecar.edits.changed(((str(sidecar.options.policy), text.encode()),))


def named(sidecar: Sidecar) -> list[str]:
    """The endpoints of pool `p` that the picker may name."""
    assert sidecar.picker is not None
    pools = sidecar.picker.status()["pools"]
    return [endpoint["address"] for endpoint in pools["p"]["endpoints"]] if "p" in pools else []


def is_connected(sidecar: Sidecar) -> bool:
    """Whether any Envoy has an open stream."""
    assert sidecar.xds is not None
    return any(row["connected"] for row in sidecar.xds.status())


class EndpointsClient:
    """An Envoy that asks for the endpoints of pool `p` alone, in the state-of-the-world variant."""

    def __init__(self, address: str) -> None:
        self._ads = AdsClient(address)

    async def ask(self) -> Any:
        """Subscribes; gives the first answer."""
        await self._ads.send(ENDPOINTS, resourceNames=["pool/p"])
        return await self.receive()

    async def receive(self) -> Any:
        """The next answer."""
        return await self._ads.receive()

    async def accept(self, response: Any) -> None:
        """ACKs it."""
        await self._ads.send(
            ENDPOINTS, resourceNames=["pool/p"], versionInfo=response.version_info, responseNonce=response.nonce
        )

    async def refuse(self, response: Any, why: str) -> None:
        """NACKs it."""
        await self._ads.send(
            ENDPOINTS, resourceNames=["pool/p"], responseNonce=response.nonce, errorDetail={"code": 3, "message": why}
        )

    async def close(self) -> None:
        """Goes away."""
        await self._ads.close()


@asynccontextmanager
async def connected(sidecar: Sidecar) -> AsyncIterator[EndpointsClient]:
    """An Envoy that has taken the endpoints as they are now."""
    client = EndpointsClient(sidecar.xds_address)
    try:
        await client.accept(await client.ask())
        await eventually(lambda: states(sidecar) == ["SYNCED"])
        yield client
    finally:
        await client.close()


def states(sidecar: Sidecar) -> list[str]:
    """The state of the endpoints of each connected Envoy."""
    assert sidecar.xds is not None
    return [row["types"]["EDS"]["state"] for row in sidecar.xds.status() if row["connected"]]
