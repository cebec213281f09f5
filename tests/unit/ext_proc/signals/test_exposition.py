"""The scan against Prometheus' own parser, on every page there is, and against odd and hostile lines."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ext_proc.signals import exposition
from ext_proc.signals.exposition import Scanner, label_number, labels_of, mean_share, shown
from tests.unit.ext_proc.signals.pages import ALL, oracle, page

NAME = "vllm:num_requests_waiting"
SCAN = Scanner((NAME, "llamacpp:requests_deferred"))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_every_page_by_the_other_parser(name: str, newline: bytes) -> None:
    """Asked for every family of a page, the scan finds exactly the series and values that Prometheus' parser finds."""
    body = page(name).replace(b"\r\n", b"\n").replace(b"\n", newline)
    wanted = oracle(body)
    samples = Scanner(family for family, _ in wanted)(body)
    found = {
        (family, frozenset(labels.items())): value
        for family in {family for family, _ in wanted}
        for labels, value in samples.rows(family)
    }
    assert found == wanted


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8),
            st.floats(0, 1e14, allow_nan=False),
        ),
        max_size=6,
    )
)
def test_what_the_client_library_writes(rows: list[tuple[str, float]]) -> None:
    """Whatever labels and values the library writes, quotes and line ends included, come back as they were."""
    registry = CollectorRegistry()
    gauge = Gauge("app", "Some gauge.", ["model"], registry=registry)
    for label, value in rows:
        gauge.labels(label).set(value)
    found = Scanner(("app",))(generate_latest(registry)).rows("app")
    assert {labels["model"]: value for labels, value in found} == dict(rows)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'vllm:num_requests_waiting{a="b"} 7.0 # {trace_id="abc"} 1.0 1795210200.1\n# EOF\n', 7),
        (b'{"vllm:num_requests_waiting","model_name"="m"} 8.0\n', 8),
        (b'{"vllm:num_requests_waiting"} 8.0\n', 8),
        (b"llamacpp:requests_deferred 2\n", 2),
        (b"llamacpp:requests_deferred\t2\t1795210200123\n", 2),
        (b'vllm:num_requests_waiting {a="b"} 3\n', 3),
        (b'vllm:num_requests_waiting{a="}"} 3\n', 3),
        (b'vllm:num_requests_waiting{a="b"} 1\nvllm:num_requests_waiting{a="b"} 9\n', 9),
        (b'vllm:num_requests_waiting{a="b"} 1\nvllm:num_requests_waiting{a="c"} 9\n', 10),
        (b'vllm:num_requests_waiting{a="b"} NaN\nvllm:num_requests_waiting{a="c"} 9\n', 9),
    ],
)
def test_odd_lines(body: bytes, value: int) -> None:
    """Lawful oddities and common mistakes of writers are read for what they mean."""
    found = SCAN(body).total(NAME, "llamacpp:requests_deferred")
    assert found is not None
    assert found[0] == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"<!doctype html><html><body>502 Bad Gateway</body></html>",
        b'[{"numActiveRequests": 3}]',
        b'vllm:num_requests_waiting{model_name="m"} NaN\n',
        b'vllm:num_requests_waiting{model_name="m"} +Inf\n',
        b'vllm:num_requests_waiting{model_name="m"} -1.0\n',
        b'vllm:num_requests_waiting{model_name="m"} 1e300\n',
        b'vllm:num_requests_waiting{model_name="m"} three\n',
        b'vllm:num_requests_waiting{engine="0",mod',
        b'vllm:num_requests_waiting{engine="0"}',
        b'vllm:num_requests_waiting{engine="0"} ',
        b'vllm:num_requests_waiting{engine="0\n"} 3\n',
        b"vllm:num_requests_waiting 33333333333333333333333333333333333333333333\n",
        b'vllm:num_requests_waiting_by_reason{reason="capacity"} 12.0\n',
        b'my_vllm:num_requests_waiting{a="b"} 12.0\n',
        b"# HELP vllm:num_requests_waiting 12\n# TYPE vllm:num_requests_waiting gauge\n",
    ],
)
def test_nothing_to_read(body: bytes) -> None:
    """What tells nothing is None, never zero and never an exception."""
    assert SCAN(body).total(NAME) is None
    assert not SCAN(body).has(NAME)


def test_broken_line_spoils_itself_only() -> None:
    """A line with an open quote does not swallow the next one."""
    body = b'llamacpp:requests_deferred{a="b} 1\nvllm:num_requests_waiting{a="b"} 2\n'
    assert SCAN(body).total("llamacpp:requests_deferred") is None
    assert SCAN(body).total(NAME) == (2, NAME)


def test_names_and_labels() -> None:
    """The first name that is there answers, rows can be chosen by labels, and the answer says where it is from."""
    samples = Scanner(("new", "old"))(b'old{kind="a"} 1\nold{kind="b"} 3\n')
    assert samples.total("new", "old") == (4, "old")
    assert samples.total("old", where={"kind": "b"}) == (3, 'old{kind="b"}')
    assert samples.total("old", where={"kind": "c"}) is None
    assert samples.largest("new", "old") == (3, "old")
    assert samples.largest("new") is None
    assert samples.average("new", "old", where={"kind": "a"}) == (1, 'old{kind="a"}')
    assert samples.average("new") is None
    assert shown("old", {"a": "1", "b": "2"}) == 'old{a="1",b="2"}'


def test_label_numbers() -> None:
    """Whole numbers in labels are read; `None`, nonsense, and numbers that nobody can mean are not."""
    samples = Scanner(("info",))(b'info{size="None"} 1\ninfo{size="16",other="x"} 1\n')
    assert samples.label("info", "size") == (16, "info{size}")
    assert samples.label("info", "other") is None
    assert samples.label_numbers("info", "size", "other") == [(None, None), (16, None)]
    tricky = rb'info{a="size=\"1\"",mysize="2", "size" = "3" ,b="size="} 1'
    assert Scanner(("info",))(tricky).label_numbers("info", "size", "b") == [(3, None)]
    assert labels_of(rb'a="1\\2\"3\n4",b="",') == {"a": '1\\2"3\n4', "b": ""}
    numbers = [label_number({"n": text}, "n") for text in ("7", "0", "-1", "1.5", "None", "", "²", "9" * 16)]
    assert numbers == [7, 0, None, None, None, None, None, None]


def test_shares() -> None:
    """A mean is one of shares; what is none does not count."""
    assert mean_share([0.5, 50, -1], "x") == (0.5, "x")
    assert mean_share([-1, 1e9], "x") is None


def test_no_names() -> None:
    """A scan for nothing finds nothing."""
    assert not Scanner(())(b"a 1\n").has("a")


@given(st.binary(max_size=300))
def test_garbage(body: bytes) -> None:
    """No page raises."""
    SCAN(body).rows(NAME)


@given(name=st.sampled_from(ALL), cut=st.integers(0, 3_000))
def test_cut_pages(name: str, cut: int) -> None:
    """A page that was cut off gives what is whole in it, and no row more than that."""
    body = page(name)[:cut]
    wanted = rb"(?:num_requests_running|num_running_reqs|requests_processing)"
    names = {match.decode() for match in re.findall(rb"(?m)^\w+:" + wanted, page(name))}
    rows = re.findall(rb"(?m)^\w+:" + wanted + rb"(?:\{.*\})? [0-9]", body)
    assert sum(len(Scanner(names)(body).rows(each)) for each in names) == len(rows)


def test_hostile_pages_cost_little() -> None:
    """A megabyte of open braces, quotes or blanks is read in linear time: it would take hours otherwise."""
    name = NAME.encode()
    for piece in (name + b'{a="', name + b"{", name + b"  ", b'{"'):
        for body in (piece * 40_000, (piece + b"\n") * 40_000, piece + b" " * 1_000_000, piece + b"\\" * 1_000_001):
            assert SCAN(body).total(NAME) is None


def test_rows_and_labels_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond the limit are left out, and rows whose labels are more than may be read; nobody raises."""
    monkeypatch.setattr(exposition, "MAX_ROWS", 3)
    monkeypatch.setattr(exposition, "MAX_LABEL_BYTES", 12)
    found = Scanner(("a", "b"))(b'a{x="1"} 1\na{x="2"} 2\na{x="33"} 3\nb 4\n')
    assert found.total("a") == (6, "a")
    assert not found.has("b")
    assert [labels["x"] for labels, _ in found.rows("a")] == ["1", "2"]
    assert [value for _, value in found.rows("a")] == [1, 2], "what was read before is not read again"
    assert found.values("a", {"x": "33"}) == []
    assert found.label_numbers("a", "x") == [(1,), (2,)]
    assert Scanner(("a",))(b'{"a"} 1\n{"a"} 2\n{"a",x="1"} 1\n{"a",x="2"} 1').total("a") == (3, "a")
    assert [value for _, value in Scanner(("a",))(b'a{x="1"} 1\na{x="2"} 2\na{x="3"} 3').newest("a")] == [3, 2]


def test_labels_that_several_families_have() -> None:
    """Are read once, and count once."""
    found = Scanner(("a", "b"))(b'a{x="1"} 1\nb{x="1"} 2\nb{x="22"} 3\n')
    assert found.label_bytes() == len('x="1"x="22"')
    assert found.rows("a")[0][0] is found.rows("b")[0][0]
    assert [labels["x"] for labels, _ in found.rows("b")] == ["1", "22"]
    assert Scanner(("a",))(b"").label_bytes() == 0
