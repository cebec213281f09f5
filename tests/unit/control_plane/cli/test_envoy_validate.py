"""`kvpilot check --envoy` against the real binary."""

import json
from pathlib import Path

import pytest

from control_plane.cli import main

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 127.0.0.1:1}]}}
"""

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_envoy_takes_every_example(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the examples compile to is valid for a real Envoy."""
    assert main(["check", "--envoy", str(path)]) == 0, capsys.readouterr().out


def test_envoys_refusal_is_a_finding_on_the_policys_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's words are told with the line of the pool that it names, and the status is 1."""
    script = tmp_path / "envoy"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "error adding cluster \'pool/chat\'"; exit 1; }\n')
    script.chmod(0o755)
    monkeypatch.setattr("control_plane.cli.envoy_validate.find_envoy", lambda: str(script))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert main(["check", "--envoy", "--output", "json", str(policy)]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["code"], found["line"]) == ("KP401", 4)
    assert "error adding cluster" in found["message"]


def test_a_missing_envoy_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a binary the question cannot be answered, which is not a pass."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert main(["check", "--envoy", str(policy)]) == 1
    assert "KP402" in capsys.readouterr().out
