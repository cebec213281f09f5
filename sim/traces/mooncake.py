"""The traces of the Mooncake paper (FAST '25, github.com/kvcache-ai/Mooncake): one JSON object per line.

Pure. `timestamp` is in milliseconds, `input_length` and `output_length` in tokens, `hash_ids` one id per 512 tokens of
the prompt, each standing for the content of its block and of all before it; the last one is that of a partial block
unless the length is a multiple of 512. Example of a line:

    {"timestamp": 3000, "input_length": 1200, "output_length": 52, "hash_ids": [0, 7, 8]}

The partial block's id is dropped (no engine caches it). What an answer adds is not in the format: a later turn finds
the prompt of the earlier one, not its answer. The published clock ticks every 3 s; `Trace.spread` undoes that.
"""

import json
from collections.abc import Iterable, Iterator

from sim.traces.rows import MAX_AT_US, MAX_TOKENS, BadRowError, Row, TraceError, ids, numbered, shown, whole
from sim.traces.trace import TraceRequest

BLOCK_TOKENS = 512

KEYS = ("timestamp", "input_length", "output_length", "hash_ids")


def rows(lines: Iterable[str], source: str) -> Iterator[Row]:
    """Read line by line. Raises TraceError at the first line that is not of this format."""
    chain = _Chain()
    for number, text in numbered(lines, source):
        try:
            yield _row(text, chain)
        except (BadRowError, RecursionError) as error:
            raise TraceError(source, number, str(error)) from None


class _Chain:
    """Numbers blocks by their predecessor too, so that an id which the source used twice is two blocks.

    Ids come out as they went in when the source numbers its blocks in order of appearance, as Mooncake does.
    """

    # What changes: the table, which only grows. Single writer: `rows`.
    def __init__(self) -> None:
        self._known: dict[tuple[int, int], int] = {}

    def of(self, found: tuple[int, ...]) -> tuple[int, ...]:
        known, before, chained = self._known, -1, []
        for item in found:
            before = known.setdefault((before, item), len(known))
            chained.append(before)
        return tuple(chained)


def _row(text: str, chain: _Chain) -> Row:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadRowError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRowError(f"a request must be a JSON object, not {shown(found)}")
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise BadRowError(f"{missing[0]} is missing; a request has {', '.join(KEYS)}")
    prompt_tokens = whole(found["input_length"], "input_length", 1, MAX_TOKENS)
    blocks = ids(found["hash_ids"], "hash_ids")
    most = -(-prompt_tokens // BLOCK_TOKENS)
    if len(blocks) > most:
        raise BadRowError(f"{prompt_tokens:,} tokens are {most} blocks of {BLOCK_TOKENS}, hash_ids has {len(blocks)}")
    request = TraceRequest(
        at_s=0.0,
        blocks=chain.of(blocks)[: prompt_tokens // BLOCK_TOKENS],
        prompt_tokens=prompt_tokens,
        # A request that was given up before its first token counts as one of a single token.
        output_tokens=max(1, whole(found["output_length"], "output_length", 0, MAX_TOKENS)),
    )
    return Row(_microseconds(found["timestamp"]), request)


def _microseconds(timestamp: object) -> int:
    if isinstance(timestamp, float) and 0 <= timestamp <= MAX_AT_US / 1000:
        return round(timestamp * 1000)
    return whole(timestamp, "timestamp (milliseconds)", 0, MAX_AT_US // 1000) * 1000
