"""The report of a live run."""

import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from sim.sending.outcomes import Answered, Run
from sim.sending.plan import Bounds
from sim.sending.prompts import Sizing
from sim.sending.report import Setting, as_json, lines, table, target
from sim.traces.summary import summarise
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.metrics import CHAT
from tests.unit.sim.sending.runs import GOOD, run

SETTING = Setting(
    url="http://127.0.0.1:1/v1/chat/completions",
    api="chat",
    rate=2.0,
    bounds=Bounds(),
    salt="abc",
    sizes={"m": Sizing(1.25, 9, is_measured=True), "n": Sizing()},
    slo=CHAT,
)
TRACE = summarise(Trace("t", 16, (TraceRequest(0.0, (), 100, 5), TraceRequest(3.0, (), 100, 5))))


def shown(found: Run) -> str:
    """The table as text."""
    out = StringIO()
    Console(file=out, width=100).print(table(found, CHAT))
    return out.getvalue()


def test_json_has_the_results_of_a_replay() -> None:
    """The same names as a virtual result, and how it was sent; it is JSON."""
    found = json.loads(json.dumps(as_json(TRACE, SETTING, run(GOOD, GOOD))))
    assert set(found) == {"trace", "setup", "sizes", "sending", "errors", "results"}
    (result,) = found["results"]
    assert (result["strategy"], result["kind"], result["rate"], result["load"]) == ("live", "live", 2.0, None)
    assert result["ttft_ms"] == {"mean": 500.0, "p50": 500.0, "p90": 500.0, "p99": 500.0}
    assert found["trace"]["requests"] == 2
    assert found["sizes"]["m"] == {"tokens_per_word": 1.25, "overhead_tokens": 9, "is_measured": True}
    assert found["sending"]["is_open_loop"]
    assert found["errors"] == {}


def test_the_target_is_told_with_its_sizes() -> None:
    """A size that was not measured is said to be assumed."""
    url, measured, assumed = target(SETTING)
    assert "http://127.0.0.1:1/v1/chat/completions" in url
    assert "abc" in url
    assert "1.25 tokens a word, 9 around them" in measured
    assert "ASSUMED" in assumed
    assert "ASSUMED" not in measured


def test_a_good_run_has_no_warnings() -> None:
    """Three lines: sent, answered, prompts."""
    assert [line.split()[0] for line in lines(run(GOOD))] == ["sent", "answered", "prompts"]
    assert "1 in full (1 empty)" in lines(run(replace(GOOD, ttft_s=None)))[1]


def test_whatever_was_not_as_planned_is_told() -> None:
    """A stop, a full client, a late one, failures, and an endpoint that tells no cached tokens."""
    bad = Answered(status=503, error="no pod")
    found = run(replace(GOOD, cached_tokens=None), bad, late_s=0.2, waited=3, unfinished=2, is_interrupted=True)
    text = "\n".join(lines(found))
    for words in (
        "sent      4 of 4",
        "1 in full; 1 × HTTP 503: no pod",
        "2 requests on their way were given up",
        "NOT OPEN LOOP: 3 requests waited",
        "NOT ON TIME",
        "--enable-prompt-tokens-details",
    ):
        assert words in text, words


def test_the_table_has_dashes_for_what_is_not_known() -> None:
    """And numbers for what is."""
    known = shown(run(GOOD, replace(GOOD, pod="b")))
    assert "500.0" in known
    assert "40.0%" in known
    assert "–" not in known
    assert "–" in shown(run(replace(GOOD, cached_tokens=None)))
