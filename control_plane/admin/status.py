"""`/status` and `/readyz`: what the sidecar serves, to whom, and what it knows about each endpoint."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from control_plane.policy.diagnostics import as_json
from control_plane.xds.kinds import PUSH_ORDER, short_name

if TYPE_CHECKING:
    from control_plane.sidecar.sidecar import Sidecar
    from control_plane.sidecar.slow_loop import SlowLoop


def status(sidecar: "Sidecar") -> dict[str, object]:
    """The JSON value of `/status` (contract: docs/operations.md)."""
    picked = sidecar.picker.status() if sidecar.picker else {}
    return {
        "version": version("kvpilot"),
        "policy": _policy(sidecar),
        "history": [
            {"version": entry.version, "time": entry.time, "state": entry.state, "accepted": entry.accepted}
            for entry in (sidecar.edits.history() if sidecar.edits else ())
        ],
        "groups": _groups(sidecar.slow_loop) if sidecar.slow_loop else {},
        "quarantine": quarantine(sidecar.slow_loop) if sidecar.slow_loop else [],
        "envoys": envoys(sidecar),
        "pools": picked.get("pools", {}),
        "drains": sidecar.drains.status() if sidecar.drains else [],
        "mirrored": sidecar.health.status() if sidecar.health else [],
        "zones": sidecar.zones.status() if sidecar.zones else [],
        "weights": sidecar.weights.status() if sidecar.weights else [],
        "notices": sidecar.notices.status() if sidecar.notices else {},
        "degraded": sidecar.picker.survey.degraded() if sidecar.picker else [],
        "index": picked.get("index", {}),
        "token_sizes": picked.get("token_sizes", {}),
        "speed": picked.get("speed", {}),
        "sessions": picked.get("sessions", {}),
        "recordings": picked.get("recordings", []),
        "scrapes_failing": picked.get("scrapes_failing", {}),
        "gpus_failing": picked.get("gpus_failing", {}),
        "reporters": picked.get("reporters", 0),
        **_kv_events(sidecar, picked),
        "sources": sidecar.sources.status() if sidecar.sources else [],
        "certificates": sidecar.certificates.status() if sidecar.certificates else [],
        "tokenizers": sidecar.tokenizers.status() if sidecar.tokenizers else [],
        "addresses": {
            "xds": sidecar.xds_address,
            "ext_proc": sidecar.ext_proc_address or sidecar.options.ext_proc,
            "admin": sidecar.admin_address,
            **({"load_reports": sidecar.load_reports_address} if sidecar.load_reports_address else {}),
        },
    }


def _kv_events(sidecar: "Sidecar", status: dict[str, Any]) -> dict[str, object]:
    """What engines tell of their caches; nothing while nobody listens."""
    if sidecar.picker is None or sidecar.picker.intake.kv_counters is None:
        return {}
    return {"kv_events": status["kv_events"], "kv_events_failing": status["kv_events_failing"]}


def _policy(sidecar: "Sidecar") -> dict[str, object]:
    state = sidecar.state
    return {
        "file": str(sidecar.options.policy),
        "version": state.version,
        "state": state.state,
        "source": state.source,
        "diagnostics": [as_json(diagnostic) for diagnostic in state.diagnostics],
        "error": state.error,
        "file_error": state.file_error,
        "fleet_error": state.fleet_error,
        "history_error": state.history_error,
    }


def _groups(slow_loop: "SlowLoop") -> dict[str, object]:
    return {
        name: {"rollout": rollout, "policy_version": policy, "envoys": envoys, "state": state}
        for name, rollout, policy, envoys, state in slow_loop.overview.groups()
    }


def quarantine(slow_loop: "SlowLoop") -> list[dict[str, object]]:
    """What Envoys are not given: refused by one of them, or impossible to make; each once per group."""
    refused: list[dict[str, object]] = [
        {
            "group": variant.group,
            "type": short_name(held.rejected.type_url),
            "resource": held.rejected.name,
            "version": held.rejected.version,
            "error": held.rejected.error,
            "policy": (slow_loop.versions.places(held.rejected.name, held.rejected.type_url) or [""])[0],
            "instead": held.instead,
        }
        for variant, held in slow_loop.overview.held_back()
    ]
    failed: dict[tuple[str, str, str], dict[str, object]] = {
        (variant.group, failure.type_url, failure.name): {
            "group": variant.group,
            "type": short_name(failure.type_url),
            "resource": failure.name,
            "version": "",
            "error": failure.error,
            "policy": slow_loop.versions.place_of_pool(failure.name),
            "instead": failure.instead,
        }
        for variant, _, made in slow_loop.overview.failures()
        for failure in made.failures
    }
    return [*refused, *failed.values()]


def envoys(sidecar: "Sidecar") -> list[dict[str, Any]]:
    """A row for each Envoy: how far it is, its group, and where the policy says what it refused."""
    if sidecar.xds is None or sidecar.slow_loop is None:
        return []
    groups = {stream.node.id: stream.variant.group for stream in sidecar.slow_loop.streams if stream.variant}
    return [_envoy(row, groups, sidecar.slow_loop) for row in sidecar.xds.status()]


def _envoy(row: dict[str, Any], groups: Mapping[str, str], slow_loop: "SlowLoop") -> dict[str, Any]:
    refusals = slow_loop.overview.refusals(row["node"]) if row["connected"] else {}
    types = {name: _cell(name, cell, refusals.get(name, []), slow_loop) for name, cell in row["types"].items()}
    return row | {"group": groups.get(row["node"]), "types": types}


def _cell(
    name: str, cell: dict[str, Any], refusals: Sequence[tuple[str, str]], slow_loop: "SlowLoop"
) -> dict[str, Any]:
    """One type of one Envoy. What it refused and is not given any more still counts as an error of it, as long as the
    policy wants it to have that."""
    type_url = next((url for url in PUSH_ORDER if short_name(url) == name), "")
    if refusals and cell["nacks"]:
        errors = dict.fromkeys(error for _, error in refusals)
        names = sorted({*cell["resources"], *(name for name, _ in refusals)})
        cell = cell | {"state": "ERROR", "error": cell["error"] or "\n".join(errors), "resources": names}
    return cell | {
        "policy": [place for resource in cell["resources"] for place in slow_loop.versions.places(resource, type_url)]
    }


def not_ready(sidecar: "Sidecar") -> list[str]:
    """What is still missing before traffic may come, a line each; empty when all is there."""
    # A listener on a used port, mostly.
    refused = dict.fromkeys(sidecar.slow_loop.overview.empty_handed()) if sidecar.slow_loop else ()
    if sidecar.is_parting:
        return ["the end has begun"]
    missing = [f"envoy {node}: refused its first {kind}: {error}" for node, kind, error in refused]
    if "picker" in sidecar.options.roles and not sidecar.ext_proc_address:
        missing.append("picker: not listening")
    if "xds" in sidecar.options.roles and not sidecar.xds_address:
        missing.append("xds: not listening")
    if sidecar.envoy is not None and not sidecar.envoy.is_running():
        missing.append("envoy: not running")
    if sidecar.envoy is not None and sidecar.xds is not None:
        connected = [row["types"] for row in sidecar.xds.status() if row["connected"]]
        if not connected:
            missing.append("envoy: not connected")
        elif not any(types["LDS"]["version_acked"] and types["RDS"]["state"] != "STALE" for types in connected):
            # It asks for listeners when its clusters are warm, and listens when it has their routes.
            missing.append("envoy: it has not taken its listeners")
    return missing
