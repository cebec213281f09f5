"""`kvpilot plan`."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli import main
from tests.kit.certificates import authority

OLD = """\
kvpilot: v1
listeners:
  - {name: openai, address: 127.0.0.1:8080}
models:
  - name: llama
    route:
      - {pool: stable, weight: 95}
      - {pool: next, weight: 5}
pools:
  stable: {endpoints: [{address: 10.0.0.1:8000}, {address: 10.0.0.2:8000}]}
  next: {endpoints: [{address: 10.0.0.3:8000}]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with the old policy."""
    (tmp_path / "old.yaml").write_text(OLD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(folder: Path, new: str, *arguments: str) -> int:
    """The exit status of a plan from the old policy to `new`."""
    (folder / "new.yaml").write_text(new)
    return main(["plan", "old.yaml", "new.yaml", *arguments])


def changes(folder: Path, capsys: pytest.CaptureFixture[str], new: str, *arguments: str) -> list[dict[str, Any]]:
    """The changes of the JSON form."""
    assert plan(folder, new, "--output", "json", *arguments) == 2
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["changes"]
    return found


def test_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A comment changes nothing: 0."""
    assert plan(folder, OLD + "# the same\n") == 0
    assert capsys.readouterr().out == "no changes\n"


def test_a_weight(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed weight is 2, told with the model's own line."""
    assert plan(folder, OLD.replace("95", "50").replace("weight: 5}", "weight: 50}")) == 2
    assert capsys.readouterr().out == (
        "~ routes openai  (new.yaml:5)\n"
        "      model/llama: to pool/stable 95, pool/next 5 → pool/stable 50, pool/next 50\n"
        "    → for new requests at once; nothing drains\n"
        "1 changed; no connection of a client is drained\n"
    )


def test_the_contract_of_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Type, name, action and place; removals are placed in the old file."""
    new = OLD.replace("      - {pool: next, weight: 5}\n", "").replace("next:", "other:").replace("stable}", "stable}")
    new = new.replace("10.0.0.2:8000", "10.0.0.4:8000")
    found = changes(folder, capsys, new)
    assert [(one["type"], one["name"], one["action"], one["policy"]) for one in found] == [
        ("clusters", "pool/next", "remove", "old.yaml:11"),
        ("clusters", "pool/other", "add", "new.yaml:10"),
        ("endpoints", "pool/next", "remove", "old.yaml:11"),
        ("endpoints", "pool/other", "add", "new.yaml:10"),
        ("endpoints", "pool/stable", "change", "new.yaml:9"),
        ("routes", "openai", "change", "new.yaml:5"),
    ]
    assert [one["name"] for one in found if one["two_step"]] == ["pool/next"]
    assert found[4]["details"] == ["+ 10.0.0.4:8000 (weight 100)", "- 10.0.0.2:8000"]


def test_a_listener_drains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What drains connections is said, and what is removed in two steps."""
    assert plan(folder, OLD.replace("8080}", "8080, maxRequestBytes: 1MiB}")) == 2
    assert "drains connections of: openai" in capsys.readouterr().out


def test_only_the_picker(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A strategy is nothing to Envoy, and a change all the same."""
    new = OLD.replace("  next: {", "  next: {picker: {strategy: round-robin}, ")
    (found,) = changes(folder, capsys, new)
    assert (found["type"], found["name"], found["details"]) == ("picker", "next", ["strategy: kv-aware → round-robin"])
    assert found["policy"] == "new.yaml:11"


def test_what_reaches_whom(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A listener of one group is a change for that group only."""
    groups = "groups: [{name: canary, appliesTo: {nodeId: {prefix: c-}}}]\n"
    more = "  - {name: extra, address: 127.0.0.1:8081, groups: [canary]}\nmodels:"
    found = changes(folder, capsys, OLD.replace("models:", more) + groups)
    assert {tuple(one["reaches"]) for one in found} == {("Envoy 1.40, group canary",)}
    assert {(one["type"], one["name"]) for one in found} == {("listeners", "extra"), ("routes", "extra")}


def test_an_older_envoy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it does not get is listed."""
    assert plan(folder, OLD, "--envoy-version", "1.36", "--envoy-version", "1.40") == 0
    out = capsys.readouterr().out
    assert "Envoy 1.36, group default does not get: token usage of streamed answers" in out
    assert "Envoy 1.40" not in out


def test_the_guard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan that takes nearly everything away says that the sidecar would refuse it."""
    many = ", ".join(f"{{address: 10.0.1.{n}:8000}}" for n in range(1, 10))
    (folder / "old.yaml").write_text(OLD.replace("{address: 10.0.0.3:8000}", many))
    assert plan(folder, OLD) == 2
    assert "refused unless forced: 9 of 11 endpoints would be removed" in capsys.readouterr().out
    assert plan(folder, OLD + "safety: {maxRemovedPercent: 100}\n", "--output", "json") == 2
    assert json.loads(capsys.readouterr().out)["guard"] == ""


def test_directories(folder: Path) -> None:
    """Either side may be a directory."""
    (folder / "dir").mkdir()
    (folder / "dir" / "a.yaml").write_text(OLD)
    assert main(["plan", "old.yaml", "dir"]) == 0


@pytest.mark.parametrize("names", [("old.yaml", "bad.yaml"), ("bad.yaml", "old.yaml"), ("old.yaml", "missing.yaml")])
def test_a_bad_policy(folder: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, str]) -> None:
    """A policy with errors is 1, with its findings on standard error."""
    (folder / "bad.yaml").write_text(OLD.replace("pool: next", "pool: nxet"))
    assert main(["plan", *names]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert "error [KP" in found.err


TLS = "address: 127.0.0.1:8080, tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}"


def test_certificates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that are here count, as the new policy's directory has them; their content is never shown."""
    authority(folder).issue("server", "localhost")
    new = OLD.replace("address: 127.0.0.1:8080", TLS)
    found = changes(folder, capsys, new)
    assert [(one["type"], one["name"], one["action"], one["details"]) for one in found if one["type"] == "secrets"] == [
        ("secrets", "listener/openai", "add", [])
    ]
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "old.yaml").write_text(new)
    (folder / "new.yaml").write_text(new)
    assert main(["plan", "elsewhere/old.yaml", "new.yaml"]) == 0, "the same files, wherever the old policy was put"


def test_what_needs_a_restart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TLS on kvpilot's own port is no change for Envoys as long as kvpilot runs, and the plan says so."""
    tls = "{mode: SIMPLE, serverCertificate: a, privateKey: b, envoy: {caCertificates: c, sni: x}}"
    assert plan(folder, OLD + f"controlPlane: {{extProc: {{tls: {tls}}}}}\n") == 2
    captured = capsys.readouterr()
    assert "new.yaml:12:26: warning [KP908] `controlPlane.extProc.tls` stays off instead of `SIMPLE`" in captured.err
    assert "~ cluster" not in captured.out
    assert "needs a restart of kvpilot: `controlPlane.extProc.tls`" in captured.out
