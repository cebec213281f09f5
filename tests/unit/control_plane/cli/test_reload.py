"""`kvpilot reload`."""

import pytest

from control_plane.cli import main
from tests.kit.ports import free_ports
from tests.unit.control_plane.cli.answering import answering

ASK = "POST /reload"
FINDING = {
    "file": "p.yaml",
    "line": 3,
    "column": 5,
    "code": "KP301",
    "severity": "error",
    "message": "no pool",
    "hint": "",
}


@pytest.mark.parametrize(("arguments", "force"), [([], False), (["--force"], True)])
def test_done(arguments: list[str], force: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it is meant seriously is passed on, and the version that is served now is told."""
    with answering({ASK: (200, {"version": "abc"})}) as server:
        assert main(["reload", *arguments, "--admin", server.address]) == 0
        assert server.asked == [(ASK, {"force": force})]
    assert capsys.readouterr().out == "serving policy abc\n"


def test_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Findings and the reason are told."""
    with answering({ASK: (409, {"error": "7 of 10 pools would be removed", "diagnostics": [FINDING]})}) as server:
        assert main(["reload", "--admin", server.address]) == 1
    err = capsys.readouterr().err
    assert err == "p.yaml:3:5: error [KP301] no pool\n7 of 10 pools would be removed\n"


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sidecar nothing is read."""
    (port,) = free_ports(1)
    assert main(["reload", "--admin", f"127.0.0.1:{port}"]) == 1
    assert "no sidecar answers" in capsys.readouterr().err
