"""What the Envoy of a sidecar is told at its start, and where it will listen."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError
from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
from control_plane.sidecar.own_envoy import NODE_CLUSTER, envoy_of, listens_of, start_envoy
from ext_proc.transport.interface import BindError


def policy() -> Policy:
    """Two listeners, one of them for Envoys in zone `za` alone."""
    text = """
kvpilot: v1
listeners: [{name: all, address: 127.0.0.1:8080}, {name: some, address: 127.0.0.1:8081, groups: [here]}]
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: 10.0.0.1:80}]}}
groups: [{name: here, appliesTo: {zone: {exact: za}}}]
"""
    loaded = load(text, "policy.yaml")
    assert loaded.document is not None, loaded.diagnostics
    return loaded.document.policy


def options(tmp_path: Path, zone: str = "za") -> tuple[SidecarOptions, EnvoyOptions]:
    """Of a sidecar there."""
    own = EnvoyOptions(directory=tmp_path, template=bootstrap_template(), node_id="me")
    return SidecarOptions(policy=tmp_path / "policy.yaml", region="eu", zone=zone, envoy=own), own


@pytest.mark.parametrize(("zone", "ports"), [("za", [8080, 8081]), ("zb", [8080])])
def test_where_it_listens(tmp_path: Path, zone: str, ports: list[int]) -> None:
    """On the listeners of its group."""
    assert [each.port for each in listens_of(*options(tmp_path, zone), policy())] == ports


def test_what_it_is_told(tmp_path: Path) -> None:
    """Who and where it is, and where its control plane listens."""
    envoy = envoy_of(*options(tmp_path), "127.0.0.1:18000", policy(), None)
    told: dict[str, Any] = json.loads(envoy._bootstrap)
    assert (told["node"]["id"], told["node"]["cluster"]) == ("me", NODE_CLUSTER)
    assert told["node"]["locality"] == {"region": "eu", "zone": "za"}
    assert "18000" in envoy._bootstrap


@pytest.mark.parametrize(
    ("error", "becomes"),
    [(PermissionError(13, "denied"), EnvoyUnavailableError), (BindError("somebody else listens"), BindError)],
)
def test_a_start_that_fails(
    tmp_path: Path, error: OSError, becomes: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator can mend is told in a line; who else listens is told as it is."""

    def failing(self: EnvoyProcess, listens: object) -> None:
        raise error

    monkeypatch.setattr(EnvoyProcess, "start", failing)
    all_options, own = options(tmp_path)
    with pytest.raises(becomes, match=r"denied|somebody"):
        start_envoy(envoy_of(all_options, own, "127.0.0.1:18000", policy(), None), own, [])
