"""`kvpilot drain`: what it asks, what it prints while it waits, and how it ends."""

from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.cli import main
from control_plane.cli.admin_client import AdminError
from control_plane.cli.drain import AWAY_S, EXIT_STILL_RUNNING, wait
from tests.kit.ports import free_ports
from tests.unit.control_plane.cli.answering import answering

KEY = ("p", "10.0.0.1:80")


def row(state: str, running: int | None = 0, *, over: bool = False, by: str = "operator") -> dict[str, Any]:
    """What the sidecar tells of a drain."""
    pool, address = KEY
    return {"pool": pool, "address": address, "state": state, "by": by, "running": running, "is_over": over}


class Time:
    """Mutable: the time, which passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self.now += seconds


def followed(*answers: dict[str, Any] | str | None) -> int:
    """The exit status of a wait with these answers, the last one for ever; None: no row, a text: nobody answers."""
    time = Time()
    given: Iterator[dict[str, Any] | str | None] = iter(answers)
    last: list[dict[str, Any] | str | None] = [None]

    def ask() -> list[dict[str, Any]]:
        last[0] = next(given, last[0])
        if isinstance(last[0], str):
            raise AdminError(last[0])
        return [] if last[0] is None else [last[0]]

    return wait([KEY], ask, time, time.sleep)


def test_what_other_pools_run_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A pod that was drained in one pool only is not said to be idle."""
    assert followed(row("drained", 3)) == 0
    assert capsys.readouterr().out.splitlines() == ["p/10.0.0.1:80: drained; 3 of other pools run there"]


def test_waits_until_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Each change is a line; 0 when Envoy knows it no more."""
    answers = (row("draining", 2), row("draining", 2), row("draining", 1), row("removed", 0), row("drained", 0))
    assert followed(*answers) == 0
    assert capsys.readouterr().out.splitlines() == [
        "p/10.0.0.1:80: draining; 2 requests run there",
        "p/10.0.0.1:80: draining; 1 request runs there",
        "p/10.0.0.1:80: removed; nothing runs there; not every Envoy has confirmed",
        "p/10.0.0.1:80: drained; nothing runs there, and no Envoy knows it",
    ]


def test_past_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    """What still runs is told; a moment later it may have ended after all."""
    assert followed(row("draining", 1), row("removed", 1, over=True)) == EXIT_STILL_RUNNING
    assert capsys.readouterr().out.splitlines()[-1].endswith("removed; 1 request runs there, and the time is over")
    assert followed(row("removed", 0, over=True), row("removed", 0, over=True), row("drained", 0, over=True)) == 0


def test_somebody_else_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """That is not what was asked for; a pod's own word is no drain of ours."""
    assert followed(row("draining", 1), None) == 1
    assert "drains no more" in capsys.readouterr().out
    assert followed(row("draining", by="pod")) == 1


def test_the_sidecar_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """A restart is waited for, not for ever; it may not know yet what runs."""
    assert followed("away", "away", row("draining", None), row("drained")) == 0
    assert "what runs there is not known yet" in capsys.readouterr().out
    with pytest.raises(AdminError, match="gone"):
        followed(row("draining", 1), "gone")
    assert AWAY_S > 5


def test_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """Endpoints, time and force as they are written; `--no-wait` tells how it begins."""
    with answering({"POST /drain": (202, {"drains": [row("draining", 3)], "warning": "not kept"})}) as server:
        words = ["p/10.0.0.1:80", "q", "--timeout", "1m30s", "--force", "--no-wait"]
        assert main(["drain", *words, "--admin", server.address]) == 0
        assert server.asked == [("POST /drain", {"endpoints": ["p/10.0.0.1:80", "q"], "timeout": 90.0, "force": True})]
    assert capsys.readouterr() == ("p/10.0.0.1:80: draining; 3 requests run there\n", "warning: not kept\n")


def test_asks_and_waits() -> None:
    """Without words about time it is the policy's."""
    answers = {"POST /drain": (202, {"drains": [row("draining")]}), "GET /drains": (200, {"drains": [row("drained")]})}
    with answering(answers) as server:
        assert main(["drain", "p", "--admin", server.address]) == 0
        assert server.asked == [
            ("POST /drain", {"endpoints": ["p"], "timeout": None, "force": False}),
            ("GET /drains", None),
        ]


def test_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The sidecar's words; so is nobody who answers."""
    with answering({"POST /drain": (409, {"error": "nobody would be left"})}) as server:
        assert main(["drain", "p", "--admin", server.address]) == 1
    assert capsys.readouterr().err == "nobody would be left\n"
    (port,) = free_ports(1)
    assert main(["drain", "p", "--admin", f"127.0.0.1:{port}"]) == 1
    assert "no sidecar answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["p", "--timeout", "soon"], ["p", "--timeout", "-1s"], ["p", "--timeout", "25h"]]
)
def test_wrong_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use, before anybody is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["drain", *words])
    assert ended.value.code == 64
    capsys.readouterr()
