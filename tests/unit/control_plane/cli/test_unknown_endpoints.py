"""What offline verbs say about endpoints that are not known then."""

import json
from pathlib import Path

import pytest

from control_plane.cli import main

TEXT = """\
kvpilot: v1
listeners: [{name: a, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: 10.0.0.1:80}, {dns: vllm:80}, {file: t.yaml}]}}
"""


def test_render_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, one line for each source; the resources are those of the addresses alone."""
    path = tmp_path / "p.yaml"
    path.write_text(TEXT)
    assert main(["render", str(path)]) == 0
    out, err = capsys.readouterr()
    (assignment,) = json.loads(out)["endpoints"]
    assert len(assignment["endpoints"][0]["lbEndpoints"]) == 1
    lines = [line for line in err.splitlines() if line.startswith("not known offline: ")]
    assert [line.split(";")[0].removeprefix("not known offline: ") for line in lines] == [
        "endpoints of p from dns vllm:80",
        "endpoints of p from file t.yaml",
    ]


def test_check_counts_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside endpoints, whose number they will change."""
    path = tmp_path / "p.yaml"
    path.write_text(TEXT)
    assert main(["check", str(path)]) == 0
    assert "1 endpoint, 2 discovery sources" in capsys.readouterr().out
