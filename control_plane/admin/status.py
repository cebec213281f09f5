"""`/status` and `/readyz`: what the sidecar serves, to whom, and what it knows about each endpoint."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from control_plane.policy.diagnostics import as_json

if TYPE_CHECKING:
    from control_plane.sidecar.sidecar import Sidecar
    from control_plane.sidecar.slow_loop import SlowLoop


def status(sidecar: "Sidecar") -> dict[str, object]:
    """The JSON value of `/status` (contract: docs/operations.md)."""
    return {
        "version": version("kvpilot"),
        "policy": {
            "file": str(sidecar.options.policy),
            "version": sidecar.state.version,
            "state": sidecar.state.state,
            "diagnostics": [as_json(diagnostic) for diagnostic in sidecar.state.diagnostics],
            "error": sidecar.state.error,
        },
        "envoys": [_with_places(row, sidecar.slow_loop) for row in sidecar.xds.status()] if sidecar.xds else [],
        "pools": sidecar.picker.status()["pools"] if sidecar.picker else {},
        "addresses": {
            "xds": sidecar.xds_address,
            "ext_proc": sidecar.ext_proc_address or sidecar.options.ext_proc,
            "admin": sidecar.admin_address,
        },
    }


def _with_places(row: dict[str, Any], slow_loop: "SlowLoop | None") -> dict[str, Any]:
    """An Envoy's row, with `policy`: where in the policy the resources stand that it refused."""
    if slow_loop is None:
        return row
    types = {
        name: cell | {"policy": [place for resource in cell["resources"] for place in slow_loop.places(resource)]}
        for name, cell in row["types"].items()
    }
    return row | {"types": types}


def _refused(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Envoys that hold nothing of a type because they refused the first of it: a listener on a used port, mostly."""
    return [
        f"envoy {row['node']}: refused its first {kind}: {cell['error']}"
        for row in rows
        if row["connected"]
        for kind, cell in row["types"].items()
        if cell["state"] == "ERROR" and not cell["version_acked"]
    ]


def not_ready(sidecar: "Sidecar") -> list[str]:
    """What is still missing before traffic may come, a line each; empty when all is there."""
    missing = _refused(sidecar.xds.status()) if sidecar.xds else []
    if "picker" in sidecar.options.roles and not sidecar.ext_proc_address:
        missing.append("picker: not listening")
    if "xds" in sidecar.options.roles and not sidecar.xds_address:
        missing.append("xds: not listening")
    if sidecar.envoy is not None and not sidecar.envoy.is_running():
        missing.append("envoy: not running")
    if (
        sidecar.envoy is not None
        and sidecar.xds is not None
        and not any(row["connected"] for row in sidecar.xds.status())
    ):
        missing.append("envoy: not connected")
    return missing
