"""The report: when it is good, as JSON, and as tables."""

import io
import json
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console

from control_plane.demo.report import Report, show
from control_plane.demo.scenario import KillReport, Row, StrategyReport

ROW = Row(
    request="chat 1 turn 1",
    model="llama",
    picked="127.0.0.1:8001",
    served="127.0.0.1:8002",
    reason="cache: 16 of 20 tokens, queue 0",
    cached_tokens=16,
    prompt_tokens=20,
    ttft_ms=12.4,
    ok=True,
)
KILL = KillReport(killed="127.0.0.1:8001", sent=60, ok=58, cut_streams=2, failed=0, retried=5)
STRATEGY = StrategyReport(
    strategy="kv-aware", requests=32, failed=0, mean_ttft_ms=20.0, p90_ttft_ms=30.0, cached_share=0.75
)
REPORT = Report(rows=[ROW], kill=KILL, strategies=[STRATEGY], envoy_rejected=[])
ZONES = {"127.0.0.1:8001": "zone-a"}


def shown(report: Report) -> str:
    """What the tables say, on a wide screen."""
    out = io.StringIO()
    show(Console(file=out, width=160), report, ZONES)
    return out.getvalue()


def test_all_went_well() -> None:
    """Streams that were cut by the kill are no failure: nobody may repeat them."""
    assert REPORT.ok


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, rows=[ROW, replace(ROW, ok=False)]),
        replace(REPORT, kill=replace(KILL, failed=1)),
        replace(REPORT, strategies=[STRATEGY, replace(STRATEGY, failed=1)]),
        replace(REPORT, envoy_rejected=["CDS: no"]),
    ],
)
def test_one_failure_anywhere_is_enough(report: Report) -> None:
    """A request of any act, or a resource that Envoy refused."""
    assert not report.ok
    assert report.as_json()["ok"] is False


def test_as_json() -> None:
    """All numbers survive the way through a file."""
    found = json.loads(msgspec.json.encode(REPORT.as_json()))
    assert found == {
        "ok": True,
        "requests": [
            {
                "request": "chat 1 turn 1",
                "model": "llama",
                "picked": "127.0.0.1:8001",
                "served": "127.0.0.1:8002",
                "reason": "cache: 16 of 20 tokens, queue 0",
                "cached_tokens": 16,
                "prompt_tokens": 20,
                "ttft_ms": 12.4,
                "ok": True,
            }
        ],
        "kill": {
            "killed": "127.0.0.1:8001",
            "sent": 60,
            "ok": 58,
            "cut_streams": 2,
            "failed": 0,
            "retried": 5,
        },
        "strategies": [
            {
                "strategy": "kv-aware",
                "requests": 32,
                "failed": 0,
                "mean_ttft_ms": 20.0,
                "p90_ttft_ms": 30.0,
                "cached_share": 0.75,
            }
        ],
        "envoy_rejected": [],
    }


def test_the_tables() -> None:
    """Each act is there with its numbers; a pod is its port and zone, one without a zone its address."""
    said = shown(REPORT)
    (row,) = (line for line in said.splitlines() if line.startswith("chat 1"))
    for word in (":8001 zone-a", "127.0.0.1:8002", "16/20", "12 ms", "cache: 16 of 20 tokens"):
        assert word in row
    assert "Pod 127.0.0.1:8001 killed" in said
    assert "60 requests: 58 answered in full, 5 of them after a retry" in said
    (strategy,) = (line for line in said.splitlines() if line.startswith("kv-aware"))
    assert strategy.split() == ["kv-aware", "32", "0", "20", "ms", "30", "ms", "75%"]
    assert "FAILED" not in said


def test_the_tables_of_a_bad_day() -> None:
    """A failed request says so, one without content has no time, and Envoy's words are shown as they are."""
    bad = replace(ROW, ok=False, ttft_ms=None, reason="TimeoutError")
    said = shown(replace(REPORT, rows=[bad], envoy_rejected=["CDS: [bold]odd[/bold] cluster"]))
    assert "FAILED TimeoutError" in said
    assert "Envoy rejected: CDS: [bold]odd[/bold] cluster" in said
