"""`kvpilot rollback`."""

import pytest

from control_plane.cli import main
from tests.kit.ports import free_ports
from tests.unit.control_plane.cli.answering import answering

ASK = "POST /rollback"


@pytest.mark.parametrize(("arguments", "body"), [([], {}), (["abc"], {"version": "abc"})])
def test_done(arguments: list[str], body: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The version is asked for, and the one that is served now is told."""
    with answering({ASK: (200, {"version": "abc"})}) as server:
        assert main(["rollback", *arguments, "--admin", server.address]) == 0
        assert server.asked == [(ASK, body)]
    assert capsys.readouterr().out.startswith("serving policy abc")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {"error": "no version abc"}), "no version abc\n"),
        ((409, {"error": {"message": "not now"}}), "not now\n"),
        ((500, {}), "the sidecar answers 500\n"),
        ((200, "text"), "is no kvpilot"),
    ],
)
def test_refused(answer: tuple[int, object], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the sidecar says against it is repeated."""
    with answering({ASK: answer}) as server:
        assert main(["rollback", "abc", "--admin", server.address]) == 1
    assert words in capsys.readouterr().err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sidecar there is nothing to roll back."""
    (port,) = free_ports(1)
    assert main(["rollback", "--admin", f"127.0.0.1:{port}"]) == 1
    assert "no sidecar answers" in capsys.readouterr().err
