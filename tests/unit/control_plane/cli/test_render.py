"""`kvpilot render`."""

import json
from pathlib import Path

import pytest

from control_plane.cli import main

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: "127.0.0.1:8080"}]
models: [{name: llama, pool: b}]
pools:
  b: {endpoints: [{address: "10.0.0.2:8000", zone: far}, {address: "10.0.0.1:8000", zone: near}],
      trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}}
  a: {endpoints: [{address: "10.0.0.3:8000"}]}
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy file without errors (pool a is unused, which is a warning)."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def test_prints_the_four_kinds_sorted_by_name(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Envoy's own JSON on standard output, nothing else; warnings go to standard error."""
    assert main(["render", policy]) == 0
    output = json.loads(capsys.readouterr().out)
    assert list(output) == ["clusters", "endpoints", "listeners", "routes"]
    assert [cluster["name"] for cluster in output["clusters"]] == ["kvpilot", "pool/a", "pool/b"]
    assert [assignment["clusterName"] for assignment in output["endpoints"]] == ["pool/a", "pool/b"]
    assert [resource["name"] for kind in ("listeners", "routes") for resource in output[kind]] == ["openai", "openai"]


def test_place_and_picker_are_arguments(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A place sets priorities, an address the picker's cluster."""
    assert main(["render", policy, "--zone", "near", "--ext-proc", "unix:/run/k.sock"]) == 0
    output = json.loads(capsys.readouterr().out)
    groups = output["endpoints"][1]["endpoints"]
    assert [(group["locality"]["zone"], group.get("priority", 0)) for group in groups] == [("near", 0), ("far", 1)]
    assert "/run/k.sock" in json.dumps(output["clusters"][0])


def test_an_older_envoy_gets_less_and_it_is_said(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left out stands on standard error."""
    assert main(["render", policy, "--envoy-version", "1.37"]) == 0
    captured = capsys.readouterr()
    assert "sse_to_metadata" not in captured.out
    assert "left out: token usage of streamed answers" in captured.err


def test_a_broken_policy_is_located(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, nothing on standard output, the place on standard error."""
    path = tmp_path / "broken.yaml"
    path.write_text(POLICY.replace("pool: b", "pool: c"))
    assert main(["render", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{path}:3:" in captured.err


def test_a_missing_policy_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file ends with 1 and a text."""
    assert main(["render", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err


def test_an_address_that_is_none_is_wrong_usage(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """64, with the text that was meant as an address."""
    with pytest.raises(SystemExit, match="64"):
        main(["render", policy, "--ext-proc", "localhost"])
    assert "localhost" in capsys.readouterr().err


def test_a_version_that_is_none_is_wrong_usage(policy: str) -> None:
    """64, as for every wrong word on the command line."""
    with pytest.raises(SystemExit, match="64"):
        main(["render", policy, "--envoy-version", "new"])


def test_a_group_that_nobody_has(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said, in place of what another group gets."""
    assert main(["render", policy, "--group", "canaries"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("there is no group canaries; there is default\n")
