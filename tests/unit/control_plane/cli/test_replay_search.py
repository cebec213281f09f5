"""`kvpilot replay --slo` and `--size`: what is searched, printed and repeated."""

import json
from typing import Any

import pytest

from control_plane.cli import main

WORDS = (
    "generate:chat:turns=3", "--requests", "60", "--profile", "demo", "--engines", "2", "--load", "0.3",
    "--strategies", "kv-aware,round-robin",
)  # fmt: skip


def report(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a run that must succeed prints."""
    assert main(["replay", *WORDS, *words]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The same as values."""
    found: dict[str, Any] = json.loads(report(capsys, *words, "--output", "json"))
    return found


def test_an_slo_finds_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where one is given; a laxer one holds at higher rates."""
    assert not {"limits", "sizes"} & set(as_json(capsys))
    strict, lax = (as_json(capsys, "--slo", slo) for slo in ("ttft=500ms,tpot=50ms", "ttft=5s,tpot=100ms"))
    assert [found["strategy"] for found in strict["limits"]] == ["kv-aware", "round-robin"]
    for before, after in zip(strict["limits"], lax["limits"], strict=True):
        assert 0 < before["rate"] < after["rate"]
        assert before["p90_ttft_ms"] <= 500
        assert before["tpot_ms"] <= 50
    assert "sizes" not in strict
    assert len(strict["results"]) == 2
    assert "highest rate with P90 TTFT and mean TPOT within ttft=0.5s,tpot=50ms" in report(
        capsys, "--slo", "ttft=500ms"
    )


def test_size_finds_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    """At every rate, with the default SLO where none is given; the rates are not searched then."""
    found = as_json(capsys, "--size", "--slo", "ttft=500ms")
    assert "limits" not in found
    assert [size["strategy"] for size in found["sizes"]] == ["kv-aware", "round-robin"]
    assert {size["rate"] for size in found["sizes"]} == {found["results"][0]["rate"]}
    assert all(1 <= size["pods"] <= 8 for size in found["sizes"])
    text = report(capsys, "--size")
    assert "within ttft=2s,tpot=50ms at rate ×" in text
    assert "\nkv-aware needs " in text


@pytest.mark.parametrize("asked", ["--size", "--slo=ttft=500ms"])
def test_processes_find_the_same(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The bytes do not depend on the number of jobs."""
    words = (asked, "--output", "json", "--jobs")
    assert report(capsys, *words, "1") == report(capsys, *words, "2")


def test_pods_of_policies_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and a sentence, not one of the two without a word."""
    assert main(["replay", "generate:chat", "--compare", "a", "b", "--size"]) == 1
    assert "--size searches per strategy" in capsys.readouterr().err


def test_what_has_no_pace_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and a sentence."""
    assert main(["replay", "generate:chat", "--requests", "1", "--slo", "ttft=1s", "--strategies", "kv-aware"]) == 1
    assert "has no pace" in capsys.readouterr().err
