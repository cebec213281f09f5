"""What all trace formats share: limits, located errors, checked numbers, and rows put together into a trace.

Pure. A format turns numbered lines into rows; times stay integers (microseconds of the source's own clock) until all
rows are known, so that no precision is lost on clocks that count from 1970.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sim.traces.trace import TIME_DIGITS, Trace, TraceRequest

# A million tokens in blocks of 16, each id 20 digits long, are 1.4 MB; a longer line is no trace.
MAX_LINE_CHARACTERS = 4_000_000

# A week of one busy service; about a gigabyte in memory. `limit` reads the beginning of a longer file.
MAX_REQUESTS = 1_000_000

# Ids in memory, over all requests: 70 times the Mooncake conversation trace, below a gigabyte.
MAX_BLOCKS = 20_000_000

# Ten times the longest context of any engine: a larger count is a column mixed up.
MAX_TOKENS = 10_000_000

# Ids are hashes of 64 bits at most.
MAX_ID = 2**64 - 1

# A century in microseconds, since 1970 or any later origin.
MAX_AT_US = 100 * 366 * 86_400 * 1_000_000


class TraceError(ValueError):
    """A file is no trace. Says where: `source:line: what is wrong`, or `source: …` for the file as a whole."""

    def __init__(self, source: str, line: int, problem: str) -> None:
        """Name the place (`line` from 1, 0 for the whole file) and the problem."""
        super().__init__(f"{source}:{line}: {problem}" if line else f"{source}: {problem}")
        self.source = source
        self.line = line
        self.problem = problem


class BadRowError(ValueError):
    """A line says something impossible; whoever knows the line number makes a `TraceError` of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request and its time on the clock of its source."""

    at_us: int
    request: TraceRequest
    """With `at_s` 0 until `assemble`."""


def numbered(lines: Iterable[str], source: str) -> Iterator[tuple[int, str]]:
    """Count lines from 1 and leave blank ones out. Raises TraceError at a line longer than `MAX_LINE_CHARACTERS`."""
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise TraceError(source, number, f"the line is longer than {MAX_LINE_CHARACTERS:,} characters")
        text = line.strip()
        if text:
            yield number, text


def assemble(name: str, block_tokens: int, rows: Iterable[Row], *, has_coarse_clock: bool = False) -> Trace:
    """Order the rows by time, keeping the order of equals, and let the first one arrive at 0 s."""
    ordered = sorted(rows, key=lambda row: row.at_us)
    start = ordered[0].at_us if ordered else 0
    requests = (replace(row.request, at_s=round((row.at_us - start) / 1e6, TIME_DIGITS)) for row in ordered)
    return Trace(name, block_tokens, tuple(requests), has_coarse_clock)


def whole(value: object, what: str, least: int, most: int) -> int:
    """Return `value` as an int within its bounds. Raises BadRowError with what was found."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRowError(f"{what} must be a whole number, not {shown(value)}")
    if not least <= value <= most:
        raise BadRowError(f"{what} must be between {least:,} and {most:,}, not {shown(value)}")
    return value


def ids(value: object, what: str) -> tuple[int, ...]:
    """Return a list of block ids. Raises BadRowError at the first that is none."""
    if not isinstance(value, list):
        raise BadRowError(f"{what} must be a list of block ids, not {shown(value)}")
    for item in value:
        whole(item, f"an id in {what}", 0, MAX_ID)
    return tuple(value)


def shown(value: object) -> str:
    """Write a value found in a file, cut to what fits into a message."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
