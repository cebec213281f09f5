"""`kvpilot undrain`."""

import pytest

from control_plane.cli import main
from tests.unit.control_plane.cli.answering import answering

ASK = "POST /undrain"


def test_done(capsys: pytest.CaptureFixture[str]) -> None:
    """Who is back is told."""
    with answering({ASK: (200, {"endpoints": [{"pool": "p", "address": "10.0.0.1:80"}]})}) as server:
        assert main(["undrain", "p/*", "--admin", server.address]) == 0
        assert server.asked == [(ASK, {"endpoints": ["p/*"]})]
    assert capsys.readouterr().out == "p/10.0.0.1:80: serves again\n"


def test_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The sidecar's words."""
    with answering({ASK: (409, {"error": "'p' is no endpoint that drains"})}) as server:
        assert main(["undrain", "p", "--admin", server.address]) == 1
    assert capsys.readouterr().err == "'p' is no endpoint that drains\n"
