"""`kvpilot status`."""

import json
from typing import Any

import pytest

from control_plane.cli import main
from tests.kit.ports import free_ports
from tests.unit.control_plane.cli.answering import answering


def status(**changes: Any) -> dict[str, Any]:
    """What a healthy sidecar says."""
    synced = {"state": "SYNCED", "version_acked": "v1", "version_sent": "v1", "error": "", "policy": []}
    return {
        "version": "0.4.0",
        "policy": {"file": "p.yaml", "version": "abc", "state": "applied", "source": "file", "diagnostics": [],
                   "error": ""},
        "groups": {"default": {"rollout": "rest", "policy_version": "abc", "envoys": 1, "state": "promoted"}},
        "quarantine": [],
        "envoys": [
            {"node": "edge-1", "group": "default", "version": "1.40.0", "connected": True, "left_out": [],
             "types": {"CDS": synced, "LDS": dict(synced)}},
        ],
        "pools": {"chat": {"strategy": "kv-aware", "endpoints": [
            {"address": "10.0.0.1:8000", "health": "healthy", "in_flight": 3, "waiting": 1.0, "running": 2.0,
             "queued_tokens": 70, "index_blocks": 12, "scrape_age_s": 0.21},
            {"address": "10.0.0.2:8000", "health": "ejected", "in_flight": 0, "waiting": 0.0, "running": 0.0,
             "queued_tokens": 0, "index_blocks": 0, "scrape_age_s": None}]}},
        "sources": [], "certificates": [],
        **changes,
    }  # fmt: skip


def with_error() -> dict[str, Any]:
    """The same with an Envoy that refuses a listener."""
    bad = status()
    bad["envoys"][0]["types"]["LDS"] |= {"state": "ERROR", "error": "no [bold]", "policy": ["p.yaml:3:5"]}
    return bad


def shown(answer: dict[str, Any], *arguments: str) -> tuple[int, list[tuple[str, Any]]]:
    """The exit status under an answer, and what was asked."""
    with answering({"GET /status": (200, answer)}) as server:
        return main(["status", "--admin", server.address, *arguments]), server.asked


def test_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """All is well: 0, and each Envoy, group and endpoint in its table."""
    assert shown(status()) == (0, [("GET /status", None)])
    out = capsys.readouterr().out
    assert "policy abc: applied" in out
    assert "edge-1  default  1.40.0   yes        SYNCED  SYNCED" in out
    assert "10.0.0.1:8000" in out
    assert "0.2 s ago" in out
    assert "never" in out


def test_where_the_load_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    """When the queue was told and how; without it the batch."""
    it = status()
    first, second = it["pools"]["chat"]["endpoints"]
    first["told"] = {name: {"value": 1, "age_s": age, "source": "orca"} for name, age in (("waiting", 1.25), ("x", 9))}
    second["told"] = {"running": {"value": 1, "age_s": 7.0, "source": "report"}}
    shown(it)
    out = capsys.readouterr().out
    assert "1.2 s ago (orca)" in out
    assert "7.0 s ago (report)" in out


def test_an_envoy_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """An ERROR is 1, with Envoy's words as they are and the operator's own line."""
    assert shown(with_error())[0] == 1
    assert "edge-1 refuses LDS (p.yaml:3:5): no [bold]" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["file_error", "fleet_error"])
def test_what_else_keeps_the_policy_from_being_served(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is gone, and a result of discovery that removes too much, are told and are 1."""
    policy = {**status()["policy"], key: "[b] is gone"}
    assert shown(status(policy=policy))[0] == 1
    assert "  [b] is gone\n" in capsys.readouterr().out


def test_an_envoy_that_has_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """Its group is not known any more."""
    gone = status()
    gone["envoys"][0] |= {"group": None, "connected": False}
    assert shown(gone)[0] == 0
    assert "edge-1         1.40.0   no" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["rejected", "refused", "rolled-back"])
def test_the_file_is_not_served(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    """So is a file that is not what is served, with its findings."""
    found = {
        "file": "p.yaml",
        "line": 1,
        "column": 2,
        "code": "KP201",
        "severity": "error",
        "message": "no",
        "hint": "",
    }
    policy = {**status()["policy"], "state": state, "source": "last-good", "diagnostics": [found], "error": "too much"}
    assert shown(status(policy=policy))[0] == 1
    out = capsys.readouterr().out
    assert f"policy abc (from last-good): {state}" in out
    assert "p.yaml:1:2: error [KP201] no" in out
    assert "too much" in out


def test_quarantine_sources_certificates_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    """What is in quarantine is an error; discovery and certificates are told where something is wrong with them."""
    one = {"group": "default", "type": "CDS", "resource": "pool/chat", "version": "v", "error": "bad",
           "policy": "p.yaml:9:1", "instead": "last good"}  # fmt: skip
    source = {
        "pool": "chat",
        "kind": "dns",
        "target": "x:1",
        "state": "stale",
        "age_s": 9.0,
        "error": "timeout",
        "endpoints": 2,
    }
    fresh = {**source, "state": "fresh", "target": "y:1"}
    certificate = {"policy": "listeners.openai.tls", "files": ["a.pem", "a.key"], "state": "stale", "error": "no match"}
    good = {**certificate, "files": ["good.pem"], "state": "ok", "error": ""}
    history = [{"version": f"v{n}", "time": 1_700_000_000.0 + n, "state": "applied"} for n in range(9)]
    answer = status(quarantine=[one], sources=[source, fresh], certificates=[certificate, good], history=history)
    assert shown(answer)[0] == 1
    out = capsys.readouterr().out
    assert "in quarantine: CDS pool/chat (p.yaml:9:1), instead: last good" in out
    assert "pool chat, dns x:1: stale; timeout" in out
    assert "y:1" not in out
    assert "listeners.openai.tls (a.pem, a.key): stale; no match" in out
    assert "good.pem" not in out
    assert "v8       2023-11-14 22:13:28Z  applied" in out
    assert "v4" in out
    assert "v3" not in out


def test_one_node(capsys: pytest.CaptureFixture[str]) -> None:
    """Another Envoy's error is not this one's; an unknown one is an error."""
    answer = with_error()
    answer["envoys"].append({**status()["envoys"][0], "node": "edge-2"})
    assert shown(answer, "edge-2")[0] == 0
    assert "edge-1" not in capsys.readouterr().out
    assert shown(answer, "edge-9")[0] == 1
    assert capsys.readouterr().err == "no Envoy edge-9 was seen\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs it is what the sidecar says."""
    assert shown(status(), "--output", "json")[0] == 0
    assert json.loads(capsys.readouterr().out) == status()


def test_a_shadow(capsys: pytest.CaptureFixture[str]) -> None:
    """How often the two agree, and what a pick would cost more; before the first pick there is nothing to divide."""
    assert shown(status())[0] == 0
    assert "Shadows" not in capsys.readouterr().out
    shadow = {"strategy": "queue-depth", "agreed": 3, "differed": 1, "failed": 2, "regret": 6.0, "live_regret": 0.4}
    pool = {"strategy": "kv-aware", "endpoints": [], "shadow": shadow}
    assert shown(status(pools={"chat": pool}))[0] == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "queue-depth" in line)
    assert line.split() == ["chat", "kv-aware", "queue-depth", "4", "75.0%", "+1.5", "+0.1", "2"]
    fresh = shadow | {"agreed": 0, "differed": 0, "failed": 0}
    assert shown(status(pools={"chat": pool | {"shadow": fresh}}))[0] == 0


def test_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each pool and endpoint of which they are wrong, and what follows from it."""
    fine = {"verdict": "fine", "trust": 1.0, "why": "all is well", "is_acting": True, "endpoints": {}}
    assert shown(status(pools={"chat": {"endpoints": [], "prediction": fine}}))[0] == 0
    assert "all is well" not in capsys.readouterr().out
    wrong = fine | {"verdict": "over", "trust": 0.25, "why": "engines find 25%"}
    endpoints = {"10.0.0.1:8000": {"verdict": "over", "trust": 0.0, "why": "engines find 0%"}}
    for is_acting, then in ((True, "it counts 25%"), (False, "checkPredictions is false")):
        told = wrong | {"is_acting": is_acting, "endpoints": endpoints}
        assert shown(status(pools={"chat": {"endpoints": [], "prediction": told}}))[0] == 0
        out = capsys.readouterr().out
        assert f"pool chat: engines find 25%; {then}\n" in out
        assert "pool chat, 10.0.0.1:8000: engines find 0%; " in out


def test_admission(capsys: pytest.CaptureFixture[str]) -> None:
    """Who waits by priority, and what became of others; nothing where no pool has it."""
    assert shown(status())[0] == 0
    assert "Admission" not in capsys.readouterr().out
    door = {
        "waiting": {"people": 2, "batch": 1_200}, "waiting_tokens": 900_000, "admitted_per_s": 2.5,
        "rejected": {"full": 3, "expired": 4, "no-wait": 0}, "left": 5,
    }  # fmt: skip
    pools = {"chat": {"strategy": "kv-aware", "endpoints": [], "admission": door}}
    assert shown(status(pools=pools))[0] == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "people" in line)
    assert line.split() == ["chat", "people", "2,", "batch", "1200", "1,202", "900,000", "2.5", "7", "5"]


def test_an_older_sidecar(capsys: pytest.CaptureFixture[str]) -> None:
    """Parts that a sidecar does not tell are left out."""
    answer = {key: value for key, value in status().items() if key in ("version", "policy", "envoys", "pools")}
    assert shown(answer)[0] == 0
    assert "Groups" not in capsys.readouterr().out


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sidecar it is 1, and says where it was looked for."""
    (port,) = free_ports(1)
    assert main(["status", "--admin", f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err == f"no sidecar answers at 127.0.0.1:{port}: Connection refused\n"
    assert main(["status", "--admin", "unix:/nowhere/admin"]) == 1
    assert "unix:/nowhere/admin: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, {}), (200, []), (500, {"error": "x"})])
def test_something_else_answers(answer: tuple[int, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """What is no kvpilot is said to be none."""
    with answering({"GET /status": answer}) as server:
        assert main(["status", "--admin", server.address]) == 1
    assert "is no kvpilot" in capsys.readouterr().err


def test_drains(capsys: pytest.CaptureFixture[str]) -> None:
    """Who gets nothing new, by whose word, and what runs there; no error, and no table without any."""
    drains = [
        {"pool": "chat", "address": "10.0.0.1:8000", "state": "draining", "by": "operator", "running": 3},
        {"pool": "chat", "address": "10.0.0.2:8000", "state": "removed", "by": "operator", "running": None},
        {"pool": "chat", "address": "10.0.0.3:8000", "state": "draining", "by": "pod", "why": "asleep"},
    ]
    assert shown(status(drains=drains))[0] == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.partition("Drains")[2].splitlines()]
    assert lines[1:5] == [
        "pool  endpoint       state     by            requests",
        "chat  10.0.0.1:8000  draining  operator             3",
        "chat  10.0.0.2:8000  removed   operator",
        "chat  10.0.0.3:8000  draining  pod (asleep)",
    ]
    shown(status())
    assert "Drains" not in capsys.readouterr().out


def test_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """Who weighs otherwise than configured, and why; no table while nobody does."""
    told = {"pool": "chat", "configured": 100, "source": "picker"}
    weights = [
        {**told, "address": "10.0.0.1:8000", "weight": 45.5, "why": "0.80 s for each of 20 requests"},
        {**told, "address": "10.0.0.2:8000", "weight": 100.0, "why": ""},
    ]
    assert shown(status(weights=weights))[0] == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.partition("Weights")[2].splitlines()]
    assert lines[1:3] == [
        "pool  endpoint       configured  weight  why",
        "chat  10.0.0.1:8000         100    45.5  0.80 s for each of 20 requests",
    ]
    assert not any("10.0.0.2:8000" in line for line in lines)
    shown(status(weights=weights[1:]))
    assert "Weights" not in capsys.readouterr().out


def test_who_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    """What is found of them, in words that may be an engine's, and what Envoys are told; no table without any."""
    row = {"address": "10.0.0.1:8000", "health": "degraded", "why": "its metrics cannot be read: [/b] 500"}
    pool = {"endpoints": [row, {"address": "10.0.0.2:8000", "health": "healthy", "why": ""}]}
    told = [{"pool": "chat", "address": "10.0.0.1:8000", "state": "degraded"}]
    assert shown(status(pools={"chat": pool}, mirrored=told))[0] == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.partition("Not well")[2].splitlines()]
    assert lines[1:3] == [
        "pool  endpoint       health    Envoys are told  why",
        "chat  10.0.0.1:8000  degraded  degraded         its metrics cannot be read: [/b] 500",
    ]
    # Metrics that never could be read are no evidence, but what an operator looks for after a typing error.
    shown(status(pools={"chat": pool}, scrapes_failing={"10.0.0.1:8000": "refused", "10.0.0.2:8000": "refused"}))
    lines = [line.rstrip() for line in capsys.readouterr().out.partition("Not well")[2].splitlines()]
    assert [line.split(maxsplit=2)[1:] for line in lines[2:4]] == [
        ["10.0.0.1:8000", "degraded                   its metrics cannot be read: [/b] 500"],
        ["10.0.0.2:8000", "healthy                    its metrics cannot be read: refused"],
    ]
    shown(status())
    assert "Not well" not in capsys.readouterr().out


def test_zones(capsys: pytest.CaptureFixture[str]) -> None:
    """A column where any endpoint has one, and a table of the places whose requests go elsewhere."""
    rows = [
        {"address": "10.0.0.1:8000", "health": "healthy", "zone": "eu/a"},
        {"address": "10.0.0.2:8000", "health": "ejected", "zone": ""},
    ]
    place = {"pool": "chat", "from": "eu/a", "share": 40, "healthy": 1, "endpoints": 4, "why": "[/b] dark"}
    zones = [{**place, "place": "eu/a", "state": "failover"}, {**place, "place": "eu/b", "state": "active"}]
    assert shown(status(pools={"chat": {"endpoints": rows}}, zones=zones))[0] == 0
    out = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    at = out.index("Endpoints")
    assert out[at + 1].split()[:4] == ["pool", "endpoint", "zone", "health"]
    assert out[at + 2].split()[:4] == ["chat", "10.0.0.1:8000", "eu/a", "healthy"]
    assert out[at + 3].split()[:3] == ["chat", "10.0.0.2:8000", "ejected"]
    at = out.index("Places")
    assert out[at + 1 : at + 3] == [
        "pool  seen from  place  state     share  healthy  why",
        "chat  eu/a       eu/a   failover    40%   1 of 4  [/b] dark",
    ]
    assert not any("eu/b" in line for line in out)
    shown(status())
    assert "Places" not in capsys.readouterr().out


def test_what_is_answered_otherwise_and_what_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, whatever is in their words."""
    row = {"model": "big", "pool": "chat", "label": "model=small", "requests": 12, "why": "[/b] gone"}
    shown(status(degraded=[row], gpus_failing={"http://10.0.0.1:9400/metrics": "HTTP [500]"}))
    out = capsys.readouterr().out
    assert "model big: pool chat cannot serve all; model=small, 12 requests: [/b] gone" in out
    assert "GPU numbers of http://10.0.0.1:9400/metrics: HTTP [500]" in out


def test_what_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    """Notices, and webhooks that fail; those that work are not worth a line."""
    fine = {"name": "a", "pending": 0, "error": ""}
    bad = {"name": "b", "pending": 3, "error": "it answers [404]"}
    notice = {"started_at": 1_795_132_800.5, "severity": "critical", "summary": "pool [chat]: all gone"}
    shown(status(notices={"open": [notice], "webhooks": [fine, bad], "overlooked": 0}))
    out = capsys.readouterr().out
    assert "open since 2026-11-20 00:00:00Z [critical] pool [chat]: all gone" in out
    assert "webhook b: 3 wait; it answers [404]" in out
    assert "webhook a" not in out
