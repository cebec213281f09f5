"""How verbs read policies."""

from pathlib import Path

import pytest

from control_plane.cli.policy_file import checked_file, load_file, read_policy

GOOD = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat: {endpoints: [{address: 10.0.0.1:8000}]}
"""
PATCHED = GOOD + "envoyPatch: [{name: x, kind: cluster, resource: pool/none, patch: [{op: remove, path: /name}]}]\n"


def test_a_file_and_a_directory(tmp_path: Path) -> None:
    """Both are the same policy when they say the same."""
    (tmp_path / "a.yaml").write_text(GOOD)
    file, folder = load_file(str(tmp_path / "a.yaml")), load_file(str(tmp_path))
    assert file.document is not None
    assert folder.document is not None
    assert file.document.version == folder.document.version


def test_what_does_not_compile_is_no_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A patch that fits nothing is an error for every verb, at its line."""
    path = tmp_path / "a.yaml"
    path.write_text(PATCHED)
    assert load_file(str(path)).document is not None
    assert checked_file(str(path)).document is None
    assert read_policy(path) is None
    assert f"{path}:6:49: error [KP403]" in capsys.readouterr().err


def test_warnings_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy with a warning is usable, and the warning goes to standard error."""
    path = tmp_path / "a.yaml"
    path.write_text(GOOD + "  spare: {endpoints: [{address: 10.0.0.2:8000}]}\n")
    assert read_policy(path) is not None
    assert "warning [KP901]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.yaml", "a\0b", "."])
def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A missing file, an impossible name, an empty directory."""
    monkeypatch.chdir(tmp_path)
    assert [one.code for one in load_file(name).diagnostics] == ["KP100"]


def test_a_group_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for a group gets the document only if the policy has it."""
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    assert read_policy(path, "default") is not None
    assert read_policy(path, "edge") is None
    assert capsys.readouterr().err == "there is no group edge; there is default\n"
