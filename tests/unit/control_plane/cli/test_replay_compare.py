"""`kvpilot replay --compare`: two policies on one trace."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli import EX_USAGE, main

POLICY = """\
kvpilot: v1
listeners: [{{name: openai, address: 127.0.0.1:8080}}]
models: [{{name: llama, pool: chat}}]
pools:
  chat:
    picker: {{strategy: {strategy}}}
    endpoints: [{endpoints}]
"""

SMALL = ("generate:chat:turns=3", "--requests", "120", "--profile", "demo", "--load", "0.6")


@pytest.fixture
def policies(tmp_path: Path) -> tuple[str, str]:
    """The old with two pods and round robin, the new with three and kv-aware."""
    paths = []
    for name, strategy, pods in (("old", "round-robin", 2), ("new", "kv-aware", 3)):
        endpoints = ", ".join(f"{{address: 127.0.0.1:{port}}}" for port in range(1, pods + 1))
        path = tmp_path / f"{name}.yaml"
        path.write_text(POLICY.format(strategy=strategy, endpoints=endpoints))
        paths.append(str(path))
    return paths[0], paths[1]


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The comparison of a run that must succeed."""
    assert main(["replay", *words, "--output", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_two_policies_are_compared(policies: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its strategy and its pods, on the same traffic: its load is that of the old one's fleet."""
    found = as_json(capsys, *SMALL, "--seeds", "2", "--compare", *policies)
    assert list(found) == ["trace", "compare"]
    told = found["compare"]
    assert told["old"] == {"policy": policies[0], "strategy": "round-robin", "pool": "chat", "engines": 2}
    assert (told["new"]["strategy"], told["new"]["engines"]) == ("kv-aware", 3)
    (result,) = told["results"]
    assert (result["requests"], result["seeds"]) == (240, [1, 2])
    assert result["load"] == {"old": pytest.approx(0.6, abs=1e-3), "new": pytest.approx(0.4, abs=1e-3)}
    assert result["measures"]["cached_share"]["verdict"] == "better"
    low, high = result["measures"]["ttft_mean_ms"]["interval"]
    assert low < result["measures"]["ttft_mean_ms"]["difference"] < high < 0


def test_values_are_those_of_a_replay(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is lost, both sides have the numbers that a replay of each has."""
    words = (*SMALL, "--engines", "2")
    (result,) = as_json(capsys, *words, "--compare", "round-robin", "unified")["compare"]["results"]
    rows = as_json(capsys, *words, "--strategies", "round-robin,unified")["results"]
    for side, row in zip(("old", "new"), rows, strict=True):
        for name in ("ttft", "tpot", "e2e"):
            assert result["measures"][f"{name}_mean_ms"][side] == row[f"{name}_ms"]["mean"]
            assert result["measures"][f"{name}_p90_ms"][side] == row[f"{name}_ms"]["p90"]
        assert result["measures"]["cached_share"][side] == row["cached_share"]
        assert result["measures"]["good_share"][side] == row["good_share"]


def test_the_same_words_give_the_same_bytes(policies: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also with another number of processes."""
    texts = set()
    for jobs in ("1", "1", "2"):
        assert main(["replay", *SMALL, "--compare", *policies, "--output", "json", "--jobs", jobs]) == 0
        texts.add(capsys.readouterr().out)
    assert len(texts) == 1


def test_a_rates_interval_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not depend on which other rates are asked for."""
    words = (*SMALL[:-2], "--engines", "2", "--compare", "round-robin", "kv-aware", "--rate")
    both = as_json(capsys, *words, "1", "2")["compare"]["results"]
    assert [result["rate"] for result in both] == [1.0, 2.0]
    assert as_json(capsys, *words, "2")["compare"]["results"] == both[1:]


def test_a_policy_and_itself_show_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds are paired, so that nothing is left to chance."""
    assert main(["replay", *SMALL, "--engines", "2", "--seeds", "3", "--compare", "kv-aware", "kv-aware"]) == 0
    out, err = capsys.readouterr()
    assert "No difference seen: every interval has 0 in it." in out
    assert err == ""


def test_the_table_says_who_is_compared(policies: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Sharing rate, both sides, the differences, and for whom."""
    assert main(["replay", *SMALL, "--seeds", "2", "--compare", *policies]) == 0
    out = capsys.readouterr().out
    for words in ("sharing", f"old       {policies[0]}: round-robin; 2 × demo", "kv-aware; 3 × demo", "2 seeds"):
        assert words in out
    for words in ("TTFT mean, ms", "cached share", "for whom", "prompt: under 1,000", "better: "):
        assert words in out


def test_strategies_take_the_policys_settings(policies: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A change of the strategy alone needs no second file."""
    told = as_json(capsys, *SMALL, "--policy", policies[1], "--compare", "least-request", "kv-aware")["compare"]
    assert [(told[s]["strategy"], told[s]["pool"], told[s]["engines"]) for s in ("old", "new")] == [
        ("least-request", "chat", 3),
        ("kv-aware", "chat", 3),
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kv-aware", "no-such"], "'no-such' is neither a policy file nor a strategy"),
        (["{broken}", "kv-aware"], "error"),
        (["kv-aware", "{old}", "--pool", "none"], "has no pool 'none'"),
        (["kv-aware", "unified", "--size"], "take one of them"),
    ],
    ids=lambda words: words if isinstance(words, str) else None,
)
def test_what_cannot_be_compared(
    words: list[str], says: str, tmp_path: Path, policies: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, and the reason on standard error."""
    (tmp_path / "broken").write_text("kvpilot: v1\npools: 3\n")
    places = {"old": policies[0], "broken": str(tmp_path / "broken")}
    assert main(["replay", *SMALL, "--compare", *(word.format(**places) for word in words)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


@pytest.mark.parametrize("words", [["kv-aware"], ["kv-aware", "unified", "--strategies", "unified"]], ids=" ".join)
def test_wrong_words_are_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Two policies; and they take the place of strategies."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", "t", "--compare", *words])
    assert ended.value.code == EX_USAGE
    assert "usage: kvpilot replay" in capsys.readouterr().err


def test_names_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenant whose name would be a closing tag does not end the report."""
    rows = [
        {"at": at, "prompt": 100, "output": 5, "tenant": tenant} for at, tenant in enumerate(("[/x]", ":smile:", "a"))
    ]
    head = {"kvpilot_trace": 1, "name": "[/b]", "block_tokens": 64}
    (tmp_path / "trace").write_text("\n".join(json.dumps(row) for row in (head, *rows)))
    assert main(["replay", str(tmp_path / "trace"), "--compare", "round-robin", "random"]) == 0
    out = capsys.readouterr().out
    assert "tenant: [/x]" in out
    assert "tenant: :smile:" in out
    assert "[/b]: 3 requests" in out
