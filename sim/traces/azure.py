"""The Azure LLM inference traces (github.com/Azure/AzurePublicDataset, CC-BY): one CSV line per request.

Pure. The columns are `TIMESTAMP` (date and time, UTC where it does not say), `ContextTokens` and `GeneratedTokens`:

    TIMESTAMP,ContextTokens,GeneratedTokens
    2023-11-16 18:15:46.6805900,374,44

Nothing tells which prompts have something in common, so every block is one of a kind: the sharing rate is 0, the least
that the real traffic can have had. What such a trace measures is load balancing, and that cache affinity costs nothing
where there is nothing to gain. Blocks have 64 tokens, the unit in which our picker compares prompts.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import count

from sim.traces.rows import MAX_AT_US, MAX_TOKENS, BadRowError, Row, TraceError, numbered, shown, whole
from sim.traces.trace import TraceRequest

BLOCK_TOKENS = 64

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows(lines: Iterable[str], source: str) -> Iterator[Row]:
    """Read line by line. Raises TraceError at the first line that is not of this format."""
    found = numbered(lines, source)
    number, header = next(found, (0, ""))
    if tuple(name.strip() for name in header.split(",")) != COLUMNS:
        raise TraceError(source, number, f"the first line must be {','.join(COLUMNS)}")
    fresh = count()
    for number, text in found:
        try:
            yield _row(text, fresh)
        except BadRowError as error:
            raise TraceError(source, number, str(error)) from None


def _row(text: str, fresh: Iterator[int]) -> Row:
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) != len(COLUMNS):
        raise BadRowError(f"{len(COLUMNS)} columns are wanted, {len(cells)} are here")
    at_us = _microseconds(cells[0])
    prompt_tokens = whole(_number(cells[1]), "ContextTokens", 1, MAX_TOKENS)
    request = TraceRequest(
        at_s=0.0,
        blocks=tuple(next(fresh) for _ in range(prompt_tokens // BLOCK_TOKENS)),
        prompt_tokens=prompt_tokens,
        # A request that was given up before its first token counts as one of a single token.
        output_tokens=max(1, whole(_number(cells[2]), "GeneratedTokens", 0, MAX_TOKENS)),
    )
    return Row(at_us, request)


def _number(cell: str) -> int | str:
    """Return an int where the cell has one; what else it has goes into the message of `whole`."""
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) <= 18 else cell


def _microseconds(cell: str) -> int:
    try:
        # Seven decimals are written, six are kept.
        at = datetime.fromisoformat(cell)
    except ValueError:
        raise BadRowError(f"TIMESTAMP must be a date and a time, not {shown(cell)}") from None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    at_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return whole(at_us, "TIMESTAMP (microseconds since 1970)", 0, MAX_AT_US)
