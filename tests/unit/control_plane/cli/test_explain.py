"""`kvpilot explain`."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli import explain, main
from tests.unit.control_plane.cli.answering import answering

POLICY = """\
kvpilot: v1
listeners:
  - {name: openai, address: 127.0.0.1:8080}
  - {name: second, address: 127.0.0.1:8081, defaultPool: b}
models:
  - {name: llama, aliases: [gpt-4], pool: a, mirror: {pool: b}, mirrorPercentage: {value: 2.5}}
rules:
  - name: premium
    match: {headers: {x-user-tier: {exact: premium}}, models: [llama]}
    route: [{pool: a, weight: 9}, {pool: b, weight: 1}]
  - {name: closed, match: {uri: {prefix: /admin}}, directResponse: {status: 403}}
pools:
  a: {endpoints: [{address: 10.0.0.1:8000}], retries: {attempts: 0}}
  b: {endpoints: [{address: 10.0.0.2:8000}]}
"""
ID = "0123456789abcdef"
DECISION = {
    "id": ID, "time": 1.0, "model": "llama", "pool": "a", "strategy": "kv-aware",
    "endpoints": ["10.0.0.1:8000", "10.0.0.2:8000"], "reason": "cache: 10 of 20 tokens",
    "candidates": [{"address": "10.0.0.1:8000", "terms": {"uncached": 10, "queued": 0}, "cost": 10.5}],
    "outcome": {"served": "10.0.0.2:8000", "status": 200, "attempts": 2, "ttft_ms": 12.3, "cached_tokens": 8,
                "aborted": False},
}  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The policy, in the folder that we are in."""
    (tmp_path / "p.yaml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    return "p.yaml"


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON form."""
    assert main(["explain", "p.yaml", "--output", "json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_model(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By an alias: the route with its line, the rule that was passed by, copies, retries, and life without a picker."""
    assert main(["explain", policy, "--model", "gpt-4"]) == 0
    out = capsys.readouterr().out
    assert "not rule/premium: the header x-user-tier is missing\n" in out
    assert "route model/llama (p.yaml:6)" in out
    assert "a copy of 2.5 % to b\n" in out
    assert "the engine is asked for llama\n" in out
    assert "retries: none\n" in out
    assert "picker: names the pod\n" in out
    assert "without the picker: the same route; Envoy's own load balancing chooses the pod in a; " in out


def test_a_rule(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Pools with weights; headers are compared whatever their case on the command line."""
    found = explained(capsys, "--model", "llama", "--header", "X-User-Tier=premium", "--stream")
    assert (found["rule"], found["route"], found["policy"]) == ("premium", "rule/premium", "p.yaml:8")
    assert found["pools"] == [{"pool": "a", "weight": 9}, {"pool": "b", "weight": 1}]
    assert found["picker"] is True


def test_complexity(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Length, bound and tools are said on the command line; what did not match is told with its value."""
    match = "{promptTokens: {lessThan: 500}, maxTokens: {lessThan: 300}, tools: false}"
    rule = f"rules:\n  - {{name: simple, match: {match}, pool: b}}\n"
    Path(policy).write_text(POLICY.replace("rules:\n", rule))
    simple = ("--model", "llama", "--prompt-tokens", "300", "--max-tokens", "100")
    assert explained(capsys, *simple)["rule"] == "simple"
    for further, why in (
        (("--tools",), "the body's tools is true, wanted: not true"),
        (("--prompt-tokens", "600"), "the header content-length (2484) is not in 0..1999"),
        (("--max-tokens", "300"), "the body's max_tokens is 300, wanted: less than 300"),
    ):
        found = explained(capsys, *simple, *further)
        assert found["route"] == "model/llama"
        assert {"route": "rule/simple", "why": why} in found["passed"]
    with pytest.raises(SystemExit):
        main(["explain", policy, "--prompt-tokens", "0"])


def test_an_answer_of_envoys_own(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that goes nowhere says with what it is answered."""
    assert main(["explain", policy, "--path", "/admin/x"]) == 0
    assert capsys.readouterr().out.endswith("  answer: 403, by Envoy itself\n")
    found = explained(capsys, "--model", "nobody")
    assert (found["status"], found["pools"], found["without_picker"]) == (404, [], "the same answer")


def test_a_get(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a body it is a GET, to the listener's default pool, and nobody picks."""
    found = explained(capsys, "--path", "/v1/models", "--listener", "second")
    assert (found["listener"], found["route"], found["pools"][0]["pool"]) == ("second", "default", "b")
    assert found["without_picker"] == "the same: the picker is not asked here"
    assert found["retries"].startswith("2 on ")


def test_what_may_say_no_before(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters that can end a request are named, for they are not judged."""
    limits = "rateLimit: [{requests: 1, per: 1s}], fault: {abort: {httpStatus: 500}}"
    who = "authorization: [{name: a, action: ALLOW, rules: [{to: [{operation: {paths: [/v1/*]}}]}]}]"
    Path(policy).write_text(POLICY.replace("127.0.0.1:8080", f"127.0.0.1:8080, {limits}, {who}"))
    assert main(["explain", policy, "--model", "llama"]) == 0
    assert capsys.readouterr().out.endswith("not judged here, and may say no: authorization, rate limits, faults\n")


def test_a_body_from_a_file(policy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A body counts as it is; one that is not there is an error."""
    (tmp_path / "body").write_text("{")
    assert explained(capsys, "--body", "body")["status"] == 400
    assert main(["explain", policy, "--body", "nothing"]) == 1
    assert capsys.readouterr().err == "nothing: No such file or directory\n"


def test_fallbacks(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where else a request may go, in order, and what it loses there; nothing for one that is not picked."""
    text = POLICY.replace(
        "mirrorPercentage: {value: 2.5}}",
        """fallback: [{model: tiny, features: {tools: skip}},
     {pool: c, features: {tools: off, maxTokens: 5}}], degradation: {answer: {text: Later, status: 429}}}
  - {name: tiny, pool: b}""",
    ).replace("mirror: {pool: b}, ", "")
    text = text.replace("{pool: b, weight: 1}]\n", "{pool: b, weight: 1}]\n    fallback: []\n")
    (tmp_path / "p.yaml").write_text(text + "  c: {endpoints: [{address: 10.0.0.3:8000}]}\n")
    assert main(["explain", policy, "--model", "gpt-4"]) == 0
    out = capsys.readouterr().out
    assert "where that cannot serve it: tiny in pool b, unless it offers tools\n" in out
    assert "then: llama in pool c, without tools, at most 5 tokens\n" in out
    assert "then: an answer of the policy's own, 429\n" in out
    assert explained(capsys, "--model", "llama", "--header", "x-user-tier=premium")["fallback"] == [{"answer": 429}]
    assert explained(capsys, "--model", "tiny")["fallback"] == []
    assert explained(capsys, "--path", "/v1/models")["fallback"] == []


def test_what_cannot_be_explained(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown listener, a bad policy and a bad header."""
    assert main(["explain", policy, "--listener", "third"]) == 1
    assert "there is no listener third" in capsys.readouterr().err
    assert main(["explain", policy, "--model", "llama", "--group", "canary"]) == 1
    assert "there is no group canary" in capsys.readouterr().err
    Path("bad.yaml").write_text("kvpilot: v2\n")
    assert main(["explain", "bad.yaml"]) == 1
    assert "KP216" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["explain", policy, "--header", "novalue"])
    assert left.value.code == 64


def test_what_is_not_known_is_not_guessed(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A patched match of a kind that is not known ends in an error."""
    operation = "{op: add, path: /virtualHosts/0/routes/0/match/grpc, value: {}}"
    patch = f"envoyPatch: [{{name: x, kind: route, resource: openai, patch: [{operation}]}}]\n"
    Path("patched.yaml").write_text(POLICY + patch)
    assert main(["explain", "patched.yaml", "--model", "llama", "--stream", "--header", "x-user-tier=premium"]) == 1
    assert "cannot be judged without an Envoy: a route match by grpc" in capsys.readouterr().err


def test_a_decision(capsys: pytest.CaptureFixture[str]) -> None:
    """A decision of a running sidecar, in words: candidates with terms, outcome, and that another pod served."""
    with answering({f"GET /decisions/{ID}": (200, DECISION)}) as server:
        assert main(["explain", ID, "--admin", server.address]) == 0
    assert capsys.readouterr().out == (
        f"decision {ID}: model llama, pool a, strategy kv-aware\n"
        "  10.0.0.1:8000 was named, then 10.0.0.2:8000: cache: 10 of 20 tokens\n"
        "  10.0.0.1:8000: cost 10.5 (uncached 10, queued 0)\n"
        "  answered 200 by 10.0.0.2:8000 in 2 tries, first token after 12 ms, 8 tokens cached\n"
        "  it was not 10.0.0.1:8000: Envoy went on to the next after a failed try\n"
    )


def test_all_of_a_decision(capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked, expected, left out, and what a shadow would have done; then how the prediction turned out."""
    outcome = {"served": "10.0.0.1:8000", "status": 200, "attempts": 1, "ttft_ms": 150.0, "cached_tokens": 8}
    told = DECISION | {
        "request": {"kind": "chat", "engine_model": "org/llama", "tokens": 1600, "max_tokens": 64, "has_session": True},
        "waited_ms": 40.0,
        "predicted": {"cached_tokens": 10, "wait_ms": 2.5, "ttft_ms": 12.0},
        "left_out": [{"address": "10.0.0.3:8000", "why": "ejected after failures"}],
        "left_out_count": 3,
        "shadow": {"strategy": "random", "address": "10.0.0.2:8000", "regret": 7.5, "live_regret": 0.0},
        "outcome": outcome,
    }
    with answering({f"GET /decisions/{ID}": (200, told)}) as server:
        assert main(["explain", ID, "--admin", server.address]) == 0
    assert capsys.readouterr().out == (
        f"decision {ID}: model llama, pool a, strategy kv-aware\n"
        "  chat of about 1,600 tokens, at most 64 to answer, of a session, the engine is asked for org/llama\n"
        "  waited 40 ms for a place\n"
        "  10.0.0.1:8000 was named, then 10.0.0.2:8000: cache: 10 of 20 tokens\n"
        "  predicted: cached tokens 10, wait 2.5 ms, first token after 12 ms\n"
        "  10.0.0.1:8000: cost 10.5 (uncached 10, queued 0)\n"
        "  not 10.0.0.3:8000: ejected after failures\n"
        "  nor 2 others\n"
        "  shadow random: 10.0.0.2:8000, which costs 7.5 more by kv-aware; by itself, what was taken costs 0 more\n"
        "  answered 200 by 10.0.0.1:8000 in 1 tries, first token after 150 ms, 8 tokens cached\n"
        "  the first token came 98 ms later than predicted\n"
    )


def test_a_decision_without_an_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    """While the request runs there is nothing to say about its end; JSON is what the sidecar says."""
    open_one = {**DECISION, "outcome": {**DECISION["outcome"], "status": None}}  # type: ignore[dict-item]
    with answering({f"GET /decisions/{ID}": (200, open_one)}) as server:
        assert main(["explain", ID, "--admin", server.address]) == 0
        assert capsys.readouterr().out.endswith("  no outcome so far\n")
        assert main(["explain", ID, "--admin", server.address, "--output", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == open_one


def test_a_name_is_no_command_for_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the policy takes any model, its name is a client's words: what is printed of it is text."""
    told = {**DECISION, "model": "m\x1b]0;owned\x07\n  forged"}
    with answering({f"GET /decisions/{ID}": (200, told)}) as server:
        assert main(["explain", ID, "--admin", server.address]) == 0
    assert capsys.readouterr().out.startswith(f"decision {ID}: model m?]0;owned??  forged, pool a")


def test_an_unknown_decision(capsys: pytest.CaptureFixture[str]) -> None:
    """One that is forgotten is an error in the sidecar's words."""
    with answering({f"GET /decisions/{ID}": (404, {"error": {"message": "no such decision"}})}) as server:
        assert main(["explain", ID, "--admin", server.address]) == 1
    assert capsys.readouterr().err == "no such decision\n"


def test_by_what_a_prompt_was_counted() -> None:
    """Tokens are exact; an estimate says so, and why."""
    request = {"kind": "chat", "engine_model": "m", "tokens": 1_600, "max_tokens": None, "has_session": False}
    for counted, expected in (
        ("tokens", "chat of 1,600 tokens"),
        ("text", "chat of about 1,600 tokens"),
        ("text: it has images", "chat of about 1,600 tokens, by its text, for it has images"),
    ):
        assert list(explain._asked({"model": "m", "request": {**request, "counted_by": counted}})) == [expected]
