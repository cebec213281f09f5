"""Opening files: the format is told by the first line, limits hold, errors are located."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.traces import azure, mooncake, read
from sim.traces.generate import generate
from sim.traces.read import FORMATS, Format, read_trace, write_trace
from sim.traces.recording import Recording
from sim.traces.rows import Row, TraceError

DATA = Path(__file__).parents[3] / "data" / "traces"


@pytest.mark.parametrize("fmt", ["auto", "mooncake"])
def test_mooncake(fmt: Format) -> None:
    """The sample: five requests, of which 7 whole blocks of 512 tokens are shared."""
    trace = read_trace(DATA / "mooncake.jsonl", fmt)
    assert (trace.name, trace.block_tokens, len(trace), trace.duration_s) == ("mooncake", 512, 5, 6.0)
    assert list(trace.shared_tokens()) == [0, 512, 1024, 0, 1536]
    assert trace.has_coarse_clock


@pytest.mark.parametrize("fmt", ["auto", "azure"])
def test_azure(fmt: Format) -> None:
    """The sample: ordered by time, starting at 0 s, nothing shared."""
    trace = read_trace(DATA / "azure.csv", fmt)
    assert [found.at_s for found in trace.requests] == [0.0, 0.5, 1.0, 2.0]
    assert [len(found.blocks) for found in trace.requests] == [3, 1, 15, 0]
    assert trace.sharing_rate == 0
    assert not trace.has_coarse_clock


@pytest.mark.parametrize("fmt", ["auto", "recording"])
def test_recording(fmt: Format) -> None:
    """The sample: the second turn finds prompt and answer of the first, whose line stands behind it."""
    trace = read_trace(DATA / "recording.jsonl", fmt)
    assert (trace.name, [found.at_s for found in trace.requests]) == ("two turns", [0.0, 1.25, 3.0])
    assert list(trace.shared_tokens()) == [0, 192, 0]
    assert not trace.has_coarse_clock


def test_writing_and_reading(tmp_path: Path) -> None:
    """A written trace is read as it was."""
    trace = generate("agents", seed=1, requests=50)
    write_trace(trace, tmp_path / "t.jsonl")
    assert read_trace(tmp_path / "t.jsonl") == trace


def test_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    """Files from Windows are read."""
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n" + (DATA / "azure.csv").read_bytes())
    assert len(read_trace(tmp_path / "t.csv")) == 4


def test_limit_reads_the_beginning_only(tmp_path: Path) -> None:
    """Lines behind the limit are not even looked at."""
    path = tmp_path / "t.jsonl"
    path.write_text((DATA / "mooncake.jsonl").read_text() + "garbage\n")
    assert len(read_trace(path, limit=5)) == 5
    with pytest.raises(TraceError, match=r"t\.jsonl:7: not JSON"):
        read_trace(path)


@pytest.mark.parametrize(("name", "value"), [("MAX_REQUESTS", 4), ("MAX_BLOCKS", 5)])
def test_too_large_a_trace_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """Beyond the limits of memory the error says what to do; a limit does it."""
    monkeypatch.setattr(read, name, value)
    with pytest.raises(TraceError, match="read the beginning with a limit"):
        read_trace(DATA / "mooncake.jsonl")
    assert len(read_trace(DATA / "mooncake.jsonl", limit=2)) == 2


def test_a_line_without_end_is_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line beyond the limit comes in pieces and is refused at the first."""
    monkeypatch.setattr(read, "MAX_LINE_CHARACTERS", 20)
    monkeypatch.setattr("sim.traces.rows.MAX_LINE_CHARACTERS", 20)
    (tmp_path / "t").write_text("{" + "x" * 1000)
    with pytest.raises(TraceError, match=r"t:1: the line is longer than 20 characters"):
        read_trace(tmp_path / "t", "mooncake")


@pytest.mark.parametrize("content", ["", "\n\n", "hello\n", '{"a": 1}\n'])
def test_unknown_formats_are_named_so(tmp_path: Path, content: str) -> None:
    """What is no trace is called that, with the file's name."""
    (tmp_path / "t").write_text(content)
    with pytest.raises(TraceError, match="this is no trace"):
        read_trace(tmp_path / "t")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text give the same kind of error."""
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    for name, words in (("missing", "No such file"), (".", "Is a directory"), ("b", "not a text in UTF-8")):
        with pytest.raises(TraceError, match=words):
            read_trace(tmp_path / name)


def test_format_names() -> None:
    """The names are those of the contract, others are refused."""
    assert FORMATS == ("auto", "mooncake", "azure", "recording")
    with pytest.raises(ValueError, match="no trace format"):
        read_trace("x", "csv")  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from([*mooncake.KEYS, "at", "prompt", "output", "blocks", "answer", "session", "stream"])
LINES = (
    st.text(max_size=40)
    | st.dictionaries(KEYS, VALUES, max_size=6).map(json.dumps)
    | st.lists(st.text("0123456789-:. ,+TZ", max_size=24), min_size=3, max_size=3).map(",".join)
)


READERS: dict[str, Callable[[list[str]], Iterator[Row]]] = {
    "mooncake": lambda lines: mooncake.rows(lines, "f"),
    "azure": lambda lines: azure.rows([",".join(azure.COLUMNS), *lines], "f"),
    "recording": lambda lines: Recording(['{"kvpilot_trace": 1, "block_tokens": 8}', *lines], "f").rows(),
    "header": lambda lines: Recording(lines, "f").rows(),
}


@pytest.mark.parametrize("reader", READERS)
@given(lines=st.lists(LINES, max_size=4))
def test_whatever_a_file_says_the_error_is_ours(reader: str, lines: list[str]) -> None:
    """No content of a line makes a reader fail in another way than with a located, short error."""
    message = "f: "
    try:
        list(READERS[reader](lines))
    except TraceError as error:
        message = str(error)
    assert message.startswith("f:")
    assert len(message) < 300
