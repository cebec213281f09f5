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


TLS = """\
controlPlane:
  xds:
    tls:
      mode: MUTUAL
      serverCertificate: s.pem
      privateKey: s-key.pem
      caCertificates: ca.pem
      envoy: {caCertificates: tls/ca.pem, clientCertificate: /e.pem, privateKey: /e-key.pem, sni: kvpilot.corp}
"""


def context_of(found: Any) -> Any:
    """The TLS context towards the control plane, which is one of Envoy's."""
    load().parse_json("envoy.config.bootstrap.v3.Bootstrap", found)
    (cluster,) = found["static_resources"]["clusters"]
    return cluster["transport_socket"]["typed_config"]


def test_tls_from_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the policy says for Envoy, with whole paths: Envoy starts anywhere."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY + TLS)
    context = context_of(printed(capsys, str(path)))
    common = context["common_tls_context"]
    assert context["sni"] == "kvpilot.corp"
    assert common["alpn_protocols"] == ["h2"]
    assert common["validation_context"]["trusted_ca"] == {"filename": str(tmp_path / "tls" / "ca.pem")}
    assert common["tls_certificates"][0]["private_key"] == {"filename": "/e-key.pem"}


def test_tls_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag takes the place of what the policy says; without a word of either there is no TLS."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY + TLS)
    context = context_of(printed(capsys, str(path), "--xds-ca", "/other.pem", "--xds-sni", "x.corp"))
    assert context["sni"] == "x.corp"
    assert context["common_tls_context"]["validation_context"]["trusted_ca"] == {"filename": "/other.pem"}
    path.write_text(POLICY)
    assert "sni" not in context_of(printed(capsys, str(path), "--xds-ca", "/other.pem"))
    (cluster,) = printed(capsys, str(path))["static_resources"]["clusters"]
    assert "transport_socket" not in cluster


@pytest.mark.parametrize("flags", [["--xds-sni", "x"], ["--xds-ca", "/c", "--xds-cert", "/p"]])
def test_half_of_tls(policy: str, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    """A certificate without its key, or names without authorities, are wrong use."""
    assert main(["bootstrap", policy, *flags]) == 64
    assert "--xds-ca" in capsys.readouterr().err
