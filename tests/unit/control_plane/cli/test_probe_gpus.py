"""`kvpilot probe --gpu`."""

import json
from pathlib import Path

import pytest

from control_plane.cli import main

PAGE = Path(__file__).parents[3] / "data" / "gpus" / "dcgm.prom"


def test_a_saved_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Each GPU with its numbers, and the labels that a policy could match."""
    assert main(["probe", str(PAGE), "--gpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{PAGE}: 4 GPUs"
    out = "\n".join(lines)
    assert "XID 31, XID 119, 2 memory errors" in out
    assert "no spare rows" in out
    assert "pod=llama-1" in out


def test_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    """As `match` of a policy would choose; for programs."""
    assert (
        main(["probe", str(PAGE), "--gpu", "--match", "pod=llama-0,llama-1", "--match", "gpu=2", "--output", "json"])
        == 0
    )
    (gpu,) = json.loads(capsys.readouterr().out)["gpus"]
    assert (gpu["xid"], gpu["is_fatal"], gpu["labels"]["pod"], gpu["temperature"]) == (79, True, "llama-1", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--match", "pod=nobody"], "no GPU there matches pod=nobody"),
        (["--match", "pod"], "'pod' is not LABEL=VALUE"),
    ],
)
def test_nothing_is_found(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That is exit 1 with the reason."""
    assert main(["probe", str(PAGE), "--gpu", *words]) == 1
    assert said in capsys.readouterr().err


def test_pages_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever they are: a line, and no traceback."""
    (tmp_path / "page").write_text("<html>")
    for source, said in (
        (str(tmp_path / "page"), "the page tells of no GPU"),
        (str(tmp_path / "none"), "No such file"),
        ("http://127.0.0.1:1/metrics", "cannot connect"),
    ):
        assert main(["probe", source, "--gpu"]) == 1
        assert said in capsys.readouterr().err
