"""Opens trace files. The only module here that touches the disk."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TextIO, get_args

from sim.traces import azure, mooncake
from sim.traces.recording import MARK, Recording, lines_of
from sim.traces.rows import MAX_BLOCKS, MAX_LINE_CHARACTERS, MAX_REQUESTS, Row, TraceError, assemble
from sim.traces.trace import Trace

Format = Literal["auto", "mooncake", "azure", "recording"]

FORMATS: tuple[Format, ...] = get_args(Format)


def read_trace(path: str | Path, fmt: Format = "auto", *, limit: int | None = None) -> Trace:
    """Read a trace line by line, at most its first `limit` requests; "auto" tells the format by the first line.

    Raises TraceError, located, when the file cannot be read, is of no known format, or is larger than the limits of
    `sim.traces.rows`; ValueError when `fmt` is none of `FORMATS`.
    """
    if fmt not in FORMATS:
        raise ValueError(f"{fmt!r} is no trace format; there are {', '.join(FORMATS)}")
    source = str(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _parse(_lines(file), source, Path(path).stem, fmt, limit)
    except UnicodeDecodeError as error:
        raise TraceError(source, 0, f"not a text in UTF-8: {error.reason}") from None
    except OSError as error:
        raise TraceError(source, 0, error.strerror or str(error)) from None


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace in our own format. Raises OSError when that fails."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines_of(trace))


def _lines(file: TextIO) -> Iterator[str]:
    """Read lines of bounded length: one longer than the limit comes in pieces, the first of which is refused."""
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        yield line


def _parse(lines: Iterator[str], source: str, name: str, fmt: Format, limit: int | None) -> Trace:
    if fmt == "auto":
        lines, fmt = _told(lines, source)
    if fmt == "recording":
        recording = Recording(lines, source)
        return assemble(recording.name or name, recording.block_tokens, _bounded(recording.rows(), source, limit))
    if fmt == "mooncake":
        found = _bounded(mooncake.rows(lines, source), source, limit)
        return assemble(name, mooncake.BLOCK_TOKENS, found, has_coarse_clock=True)
    return assemble(name, azure.BLOCK_TOKENS, _bounded(azure.rows(lines, source), source, limit))


def _told(lines: Iterator[str], source: str) -> tuple[Iterator[str], Format]:
    """Tell the format by the first line that is not blank, and give all lines back."""
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    first = head[-1].strip() if head else ""
    again = chain(head, lines)
    if first.startswith("{") and f'"{MARK}"' in first:
        return again, "recording"
    if first.startswith("{") and '"hash_ids"' in first:
        return again, "mooncake"
    if first.startswith("TIMESTAMP"):
        return again, "azure"
    raise TraceError(
        source, len(head), "this is no trace: the first line is neither Mooncake's, nor Azure's, nor our own header"
    )


def _bounded(rows: Iterable[Row], source: str, limit: int | None) -> Iterator[Row]:
    """Stop at `limit`; refuse what would not fit into memory."""
    blocks = 0
    for count, row in enumerate(islice(rows, limit)):
        blocks += len(row.request.blocks) + len(row.request.answer_blocks)
        if count >= MAX_REQUESTS or blocks > MAX_BLOCKS:
            problem = f"more than {MAX_REQUESTS:,} requests or {MAX_BLOCKS:,} blocks; read the beginning with a limit"
            raise TraceError(source, 0, problem)
        yield row
