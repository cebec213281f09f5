"""`kvpilot replay`: traces, arguments, and reports that repeat."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli import EX_USAGE, main

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat:
    picker: {strategy: least-request}
    endpoints:
      - {address: 127.0.0.1:1, zone: a}
      - {address: 127.0.0.1:2, zone: b}
      - {address: 127.0.0.1:3, zone: b}
  other: {endpoints: [{address: 127.0.0.1:4}]}
"""

SMALL = ("--profile", "demo", "--engines", "2")


@pytest.fixture
def mooncake(tmp_path: Path) -> str:
    """Forty requests of four conversations, ten at a time."""
    lines = []
    for number in range(40):
        ids = [*range(4), 1_000 + number]
        prompt = 512 * len(ids) - 100
        lines.append(
            {"timestamp": 3_000 * (number // 10), "input_length": prompt, "output_length": 20, "hash_ids": ids}
        )
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The report of a run that must succeed."""
    assert main(["replay", *words, "--output", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_has_the_contracts_shape(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The trace, and for each strategy, rate and seed the numbers by the names that programs read."""
    words = (mooncake, *SMALL, "--strategies", "kv-aware,unified", "--rate", "1", "2", "--seeds", "2")
    found = as_json(capsys, *words)
    assert (found["trace"]["name"], found["trace"]["requests"]) == ("trace", 40)
    assert found["trace"]["sharing_rate"] == pytest.approx(39 * 4 * 512 / (40 * 2_460), abs=1e-6)
    results = found["results"]
    assert [(r["rate"], r["seed"], r["strategy"], r["kind"]) for r in results] == [
        (rate, seed, strategy, kind)
        for rate in (1.0, 2.0)
        for seed in (1, 2)
        for strategy, kind in (("kv-aware", "product"), ("unified", "published"))
    ]
    for result in results:
        assert (result["requests"], result["failed"]) == (40, 0)
        for times in ("ttft_ms", "tpot_ms", "e2e_ms"):
            assert set(result[times]) == {"mean", "p50", "p90", "p99"}
        assert 0 < result["cached_share"] <= found["trace"]["sharing_rate"]
        assert result["goodput"] > 0
        assert result["ttft_ms"]["mean"] >= found["bound"]["ttft_ms"]
    assert results[4]["load"] == pytest.approx(2 * results[0]["load"], abs=1e-3)


def test_everything_is_compared_by_default(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a choice: all strategies of ours, all published rules that differ from them, and the references."""
    from sim.virtual.rules import defaults

    found = as_json(capsys, mooncake, *SMALL, "--requests", "10")
    assert [result["strategy"] for result in found["results"]] == list(defaults())
    assert {result["kind"] for result in found["results"]} == {"product", "published", "reference"}
    assert {result["requests"] for result in found["results"]} == {10}


def test_the_same_words_give_the_same_bytes(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with another number of processes."""
    words = ["replay", mooncake, *SMALL, "--strategies", "kv-aware,least-request", "--output", "json"]
    texts = set()
    for jobs in ("1", "1", "2"):
        assert main([*words, "--jobs", jobs]) == 0
        texts.add(capsys.readouterr().out)
    assert len(texts) == 1


def test_a_load_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    """`generate:` makes another trace for each seed; `--load` sets the pace of each to that share of the fleet."""
    words = ("generate:chat:turns=3", "--requests", "80", "--strategies", "kv-aware", "--seeds", "2", "--load", "0.5")
    found = as_json(capsys, *words, *SMALL)
    assert found["trace"]["requests"] == 80
    first, second = found["results"]
    assert [first["load"], second["load"]] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert first["ttft_ms"] != second["ttft_ms"]


def test_the_table_says_what_was_compared(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sharing rate and load stand beside the numbers; nothing is on standard error where nobody looks."""
    assert main(["replay", mooncake, *SMALL, "--strategies", "kv-aware,unified", "--slo", "ttft=1s"]) == 0
    out, err = capsys.readouterr()
    for words in (
        "sharing   81.",
        "2 × demo, routers: 1",
        "bound     TTFT",
        "rate × 1: load 0.",
        "kv-aware",
        "SLO ttft=1s,tpot=50ms",
    ):
        assert words in out
    assert err == ""


def test_a_coarse_clock_is_spread(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten requests at once wait for each other; spread over their three seconds they do less."""
    words = (mooncake, *SMALL, "--strategies", "kv-aware")
    spread, together = as_json(capsys, *words), as_json(capsys, *words, "--as-is")
    assert spread["results"][0]["ttft_ms"]["mean"] < together["results"][0]["ttft_ms"]["mean"]


def test_a_policy_says_what_the_pool_is(tmp_path: Path, mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As many engines as endpoints, unless another number is wanted."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    words = (mooncake, "--profile", "demo", "--strategies", "kv-aware", "--policy", str(policy))
    assert as_json(capsys, *words)["setup"]["engines"] == 3
    assert as_json(capsys, *words, "--pool", "other")["setup"]["engines"] == 1
    assert as_json(capsys, *words, "--engines", "5")["setup"]["engines"] == 5


def test_engines_and_routers_tell(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both only when asked for, each after a delay that the report names; they change what routers do."""
    words = (mooncake, *SMALL, "--strategies", "dynamo", "--routers", "3", "--load", "0.9")
    silent = as_json(capsys, *words)
    told = as_json(capsys, *words, "--kv-events")
    shared = as_json(capsys, *words, "--exchange-ms", "0")
    delays = [(found["setup"]["kv_events_ms"], found["setup"]["exchange_ms"]) for found in (silent, told, shared)]
    assert delays == [(None, None), (5.0, None), (None, 0.0)]
    assert as_json(capsys, *words, "--kv-events", "2.5")["setup"]["kv_events_ms"] == 2.5
    results = [found["results"][0] for found in (silent, told, shared)]
    assert results[0] != results[1]
    assert results[0] != results[2]
    assert main(["replay", *words, "--kv-events", "--exchange-ms", "20"]) == 0
    assert "KV-cache events: 5 ms, exchange between routers: 20 ms" in capsys.readouterr().out


def test_faults_are_played(mooncake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A pod that crashes in the middle breaks answers; the report says which faults there were."""
    words = (mooncake, *SMALL, "--strategies", "plain-random", "--rate", "3")
    (whole,) = as_json(capsys, *words)["results"]
    found = as_json(capsys, *words, "--fault", "crash:1@2", "--fault", "slow:2:2")
    (broken,) = found["results"]
    assert [fault["kind"] for fault in found["setup"]["faults"]] == ["crash", "slow"]
    assert (whole["failed"], broken["failed"] > 0) == (0, True)
    assert broken["e2e_ms"]["mean"] > whole["e2e_ms"]["mean"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no-such-file"], "no-such-file: No such file"),
        (["{trace}", "--strategies", "best"], "no strategy 'best'"),
        (["{trace}", "--profile", "tpu"], "no profile 'tpu'"),
        (["{trace}", "--fault", "crash:9@1"], "there is no pod 9"),
        (["generate:poems"], "'poems' is no kind of load"),
        (["{trace}", "--policy", "{policy}", "--pool", "none"], "has no pool 'none'; there are chat, other"),
        (["{trace}", "--policy", "{broken}"], "error"),
        (["{empty}"], "this is no trace"),
        (["{trace}", "--requests", "1", "--load", "0.5"], "all of its requests arrive at once"),
    ],
    ids=lambda words: words if isinstance(words, str) else None,
)
def test_what_cannot_be_replayed(
    words: list[str], says: str, tmp_path: Path, mooncake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the reason on standard error, and no traceback."""
    for name, text in (("policy", POLICY), ("broken", "kvpilot: v1\npools: 3\n"), ("empty", "")):
        (tmp_path / name).write_text(text)
    places = {name: str(tmp_path / name) for name in ("policy", "broken", "empty")} | {"trace": mooncake}
    assert main(["replay", *(word.format(**places) for word in words)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["t", "--rate", "0"],
        ["t", "--rate", "1", "--load", "1"],
        ["t", "--fault", "explode:1@2"],
        ["t", "--slo", "ttft=2"],
        ["t", "--seeds", "0"],
        ["t", "--scrape-ms", "nan"],
        ["t", "--kv-events", "-1"],
        ["t", "--exchange-ms", "soon"],
        ["t", "--output", "html"],
    ],
    ids=" ".join,
)
def test_wrong_words_are_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 64, before anything is read."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", *words])
    assert ended.value.code == EX_USAGE
    assert "usage: kvpilot replay" in capsys.readouterr().err
