"""`kvpilot bootstrap`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cli import main
from protos.messages import load

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: "127.0.0.1:8080"}]
models: [{name: llama, pool: a}]
pools: {a: {endpoints: [{address: "10.0.0.3:8000"}]}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the verb prints, read as YAML."""
    assert main(["bootstrap", *arguments]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_prints_a_bootstrap(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """YAML that is Envoy's bootstrap, with the addresses of the command line."""
    found = printed(capsys, policy, "--xds", "10.9.8.7:1", "--ads", "sotw", "--admin-port", "7", "--region", "r")
    load().parse_json("envoy.config.bootstrap.v3.Bootstrap", found)
    assert found["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 7}
    assert found["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
    assert found["node"]["locality"] == {"region": "r"}
    assert "10.9.8.7" in str(found["static_resources"])


@pytest.mark.parametrize("node_id", ["on", "n", "1.10", "12:30:00", "null", 'a "b" \\ c', "ü"])
def test_every_node_id_is_text(policy: str, capsys: pytest.CaptureFixture[str], node_id: str) -> None:
    """The id is quoted, so that no YAML reader takes it for something else."""
    assert main(["bootstrap", policy, "--node-id", node_id]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["node"]["id"] == node_id
    assert '  id: "' in text


def test_a_broken_policy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, and nothing on standard output."""
    path = tmp_path / "broken.yaml"
    path.write_text("kvpilot: v1\n")
    assert main(["bootstrap", str(path)]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("arguments", [["--xds", "localhost"], ["--admin-port", "70000"]])
def test_addresses_are_checked(policy: str, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """64, with a text that names what is wrong."""
    with pytest.raises(SystemExit, match="64"):
        main(["bootstrap", policy, *arguments])
    assert arguments[1] in capsys.readouterr().err
