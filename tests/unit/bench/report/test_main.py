"""The program."""

from pathlib import Path

import pytest

from bench.report.__main__ import main

NAMES = ("knees", "proof", "ours", "oracle", "scrapes", "sizes")


def test_a_quick_report_fills_the_document(tmp_path: Path) -> None:
    """Every block, with the same bytes the second time, and the numbers beside it."""
    document, told = tmp_path / "page.md", tmp_path / "page.json"
    document.write_text("".join(f"<!-- report:{name} -->\n<!-- /report -->\n" for name in NAMES))
    words = ["--quick", "--jobs", "1", "--cells", str(tmp_path), "--doc", str(document), "--json", str(told)]

    assert main(words) == 0
    first, numbers = document.read_text(), told.read_text()
    (tmp_path / "cells.jsonl").unlink()

    assert main(words) == 0
    assert (document.read_text(), told.read_text()) == (first, numbers)
    assert first.count("kvpilot replay") == 5


def test_one_table_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the document stays as it is."""
    assert main(["--quick", "--only", "knees", "--stdout", "--jobs", "1", "--cells", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("## knees\n| workload")


def test_a_document_without_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is an error that says which."""
    document = tmp_path / "page.md"
    document.write_text("nothing")

    assert main(["--quick", "--only", "scrapes", "--jobs", "1", "--cells", str(tmp_path), "--doc", str(document)]) == 1
    assert "report:scrapes" in capsys.readouterr().err
