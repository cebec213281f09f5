"""The page of a comparison: parsed, its numbers checked, and nothing in it that runs or is fetched."""

import re
from dataclasses import replace

import pytest

from sim.virtual.html_report import Report, page
from sim.virtual.metrics import CHAT, summary
from sim.virtual.plots import COLOURS
from sim.virtual.series import PodLoad, Series
from sim.virtual.study import Row
from tests.unit.sim.virtual.outcomes import outcome, result
from tests.unit.sim.virtual.pages import PageFound

HEAD = ["trace     chat-1: 800 requests", "sharing   83.5% of the prompt tokens"]


def timed(pods: int = 2) -> Series:
    """Two bins of ten seconds, of which the second has no first token."""
    return Series(10.0, (0.25, None), tuple(PodLoad(f"10.0.0.{n}:8000", (float(n), n + 1.0)) for n in range(pods)))


def row(strategy: str, ttft_s: float, kind: str = "published", rate: float = 1.0, series: Series | None = None) -> Row:
    """A run whose requests all took so long."""
    numbers = summary(result(outcome(ttft_s=ttft_s, e2e_s=9.0)), CHAT)
    return Row(strategy, kind, rate, 1, 0.4 * rate, numbers, series)


ROWS = [
    row("kv-aware", 0.2, "product"),
    row("unified", 0.25),
    row("kv-aware", 0.3, "product", 2.0, timed()),
    row("unified", 0.5, "published", 2.0, timed()),
]


def parsed(*rows: Row, command: str = "kvpilot replay t --html p", head: list[str] = HEAD) -> PageFound:
    """The page of such runs."""
    return PageFound(page(Report(command=command, head=head, rows=rows or ROWS, slo="ttft=2s")))


def test_results_are_those_of_the_tables() -> None:
    """One table a rate, the least first, ours marked, and headers that stand alone."""
    found = parsed()
    table = found.table("rate × 2: load 0.80; SLO ttft=2s")
    assert table.rows[0][:7] == ["strategy", "kind", "TTFT ms", "TTFT ms p50", "TTFT ms p90", "TTFT ms p99", "÷ best"]
    assert [line[:3] for line in table.rows[1:]] == [["kv-aware", "product", "300"], ["unified", "published", "500"]]
    assert table.rows[1][6] == "0.60"
    assert [attributes.get("class") for attributes in found.all("tr")].count("own") == 2
    assert "rate × 1: load 0.40; SLO ttft=2s" in [table.caption for table in found.tables]


def test_latency_stands_against_load() -> None:
    """A line for each rule over the loads, and its numbers."""
    found = parsed()
    table = found.table("Mean time to first token against load")
    assert table.rows == [["strategy", "load 0.40", "load 0.80"], ["kv-aware", "200", "300"], ["unified", "250", "500"]]
    names = [svg["aria-labelledby"].split()[0] for svg in found.all("svg") if svg.get("role") == "img"]
    assert names == ["latency-mean-t", "latency-p99-t", "hits-t", "pods-kv-aware-t", "pods-unified-t"]


def test_one_rate_is_no_plot_of_loads() -> None:
    """It is said why there is none."""
    found = parsed(row("kv-aware", 0.2, "product", series=timed()))
    assert not any("against load" in table.caption for table in found.tables)
    assert any("There is one rate only" in text for text in found.texts["p"])


def test_hits_are_shown_over_time() -> None:
    """By the middle of each bin; what is not known is a dash."""
    table = parsed().table("Cached share of prompt tokens over time (rate × 2, load 0.80, seed 1)")
    assert table.rows == [["seconds", "kv-aware", "unified"], ["5.0", "25.0%", "25.0%"], ["15.0", "–", "–"]]


def test_the_load_of_each_pod_is_shown() -> None:
    """A line and a row of numbers for each pod."""
    table = parsed().table("unified: requests in flight")
    assert table.rows[1:] == [["10.0.0.0:8000", "0.50", "1.00"], ["10.0.0.1:8000", "1.50", "2.00"]]


def test_large_fleets_are_three_lines() -> None:
    """The least, the middle and the most of each moment: the page does not grow with the fleet."""
    table = parsed(row("kv-aware", 0.2, "product", series=timed(101))).table("kv-aware: requests in flight")
    assert table.rows[1:] == [
        ["least loaded of 101", "0.50", "1.00"],
        ["middle of 101", "50.50", "51.00"],
        ["most loaded of 101", "100.50", "101.00"],
    ]


def test_requests_of_one_moment_have_no_time() -> None:
    """It is said instead of plotted."""
    found = parsed(row("kv-aware", 0.2, "product", series=Series(0.0, (), (PodLoad("a", ()),))))
    assert any("no time to plot over" in text for text in found.texts["p"])
    assert [svg for svg in found.all("svg") if svg.get("role") == "img"] == []


def test_what_was_never_measured_is_a_dash() -> None:
    """A run without any first token has no times, at any load."""
    failed = summary(result(outcome(ttft_s=None, e2e_s=None, status="failed")), CHAT)
    rows = [replace(found, summary=failed) for found in ROWS]
    assert parsed(*rows).table("Mean time").rows[1] == ["kv-aware", "–", "–"]


def test_only_so_many_lines_have_a_colour() -> None:
    """The best of the others and our own, however bad; the rest is grey, and named."""
    many = [row(f"rule-{n}", 1.0 + n, series=timed()) for n in range(12)]
    found = parsed(*many, row("round-robin", 99.0, "product", series=timed()))
    looks = [attributes["class"] for attributes in found.all("g")][: len(many) + 1]
    assert sorted(looks) == sorted([*["cx"] * 5, *(f"c{n}" for n in range(COLOURS - 1)), f"c{COLOURS - 1} heavy"])
    assert "rule-7, rule-8, rule-9, rule-10, rule-11" in found.texts["li"]


@pytest.mark.parametrize("evil", ["</code><script>alert(1)</script>", '"><img src=//x onerror=y>', "&lt;b&gt;", "<!--"])
def test_words_from_outside_stay_words(evil: str) -> None:
    """Trace names, arguments and strategies cannot become elements."""
    found = parsed(row(evil, 0.2, evil, series=timed()), command=evil, head=[f"trace     {evil}"])
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in parsed().tags} | {"h3"}
    assert evil in found.texts["code"]
    assert evil in found.texts["dd"]
    assert evil in found.texts["th"]
    assert evil in found.texts["td"]


def test_nothing_runs_and_nothing_is_fetched() -> None:
    """No script, no address, no handler; and browsers are told that there is none."""
    text = page(Report(command="kvpilot", head=HEAD, rows=ROWS, slo="x"))
    found = PageFound(text)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & {tag for tag, _ in found.tags}
    attributes = {name for _, given in found.tags for name in given}
    assert not attributes & {"src", "href", "style", "xlink:href"}
    assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in text
    assert "https://" not in text
    (policy,) = [meta["content"] for meta in found.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_read_aloud() -> None:
    """A language, one main heading, unique ids, plots with names, tables with captions and headers."""
    found = parsed()
    assert found.all("html") == [{"lang": "en"}]
    assert (len(found.all("h1")), len(found.all("main"))) == (1, 1)
    ids = [given["id"] for _, given in found.tags if "id" in given]
    assert len(ids) == len(set(ids))
    for svg in found.all("svg"):
        assert svg.get("aria-hidden") == "true" or set(svg["aria-labelledby"].split()) <= set(ids)
    assert all(table.caption for table in found.tables)
    assert {given["scope"] for given in found.all("th")} == {"col", "row"}


def test_the_same_rows_give_the_same_bytes() -> None:
    """No time, no chance; and it says what it is not."""
    report = Report(command="kvpilot", head=HEAD, rows=ROWS, slo="x")
    assert page(report) == page(report)
    assert any("a model of engines, not engines" in text for text in parsed().texts["li"])


def test_nothing_is_called_left_out_that_a_word_brings_in() -> None:
    """Clients that give up and a slower network are played where they are asked for (`--give-up`, `--network-ms`)."""
    (left_out,) = re.findall(r"Left out: [^<]*", page(Report(command="kvpilot", head=HEAD, rows=ROWS, slo="x")))
    assert "give up" not in left_out
    assert "half a millisecond" not in left_out
