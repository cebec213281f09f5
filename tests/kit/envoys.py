"""More Envoys beside the one of a mesh, on the same control plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.compile import AdsVariant, bootstrap
from control_plane.sidecar.envoy_process import EnvoyProcess
from ext_proc.core.address import SocketAddress, parse_address
from tests.kit.kvpilot import Kvpilot


@asynccontextmanager
async def envoy(
    directory: Path, kvpilot: Kvpilot, node_id: str, *, ads: AdsVariant = "delta"
) -> AsyncIterator[EnvoyProcess]:
    """An Envoy of this node id that is ready; ended at the exit."""
    process = EnvoyProcess(
        directory,
        bootstrap(
            bootstrap_template=bootstrap_template(),
            xds=parse_address(kvpilot.xds),
            node_id=node_id,
            node_cluster="test",
            region="",
            zone="",
            ads=ads,
            admin=SocketAddress("127.0.0.1", 0),
        ),
        disposable=True,
    )
    try:
        process.start()
        await process.wait_ready()
        yield process
    finally:
        await process.stop()


async def admin(process: EnvoyProcess, path: str) -> str:
    """The text at `path` of its admin server."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{process.admin_address()}{path}") as response,
    ):
        assert response.status == 200, f"{path}: {response.status}"
        return await response.text()


def row_of(status: Any, node_id: str) -> Any:
    """The connected Envoy of this id in kvpilot's status; None if there is none."""
    return next((row for row in status["envoys"] if row["node"] == node_id and row["connected"]), None)
