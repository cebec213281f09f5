"""`kvpilot notify`."""

import pytest

from control_plane.cli import main
from tests.unit.control_plane.cli.answering import answering

ASK = "POST /notify"


def test_all_took_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each."""
    with answering({ASK: (200, {"webhooks": [{"webhook": "a", "error": ""}]})}) as server:
        assert main(["notify", "--admin", server.address]) == 0
    assert capsys.readouterr().out == "a: delivered\n"


def test_one_did_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Its error, and the exit status."""
    rows = [{"webhook": "a", "error": ""}, {"webhook": "b", "error": "it answers 404"}]
    with answering({ASK: (200, {"webhooks": rows})}) as server:
        assert main(["notify", "--admin", server.address]) == 1
    assert capsys.readouterr().out == "a: delivered\nb: it answers 404\n"


def test_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tests something that is not there has made a mistake."""
    with answering({ASK: (200, {"webhooks": []})}) as server:
        assert main(["notify", "--admin", server.address]) == 1
    assert capsys.readouterr().err == "the policy has no webhooks\n"


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """No sidecar runs there."""
    assert main(["notify", "--admin", "127.0.0.1:1"]) == 1
    assert "no sidecar answers" in capsys.readouterr().err
