"""Our own trace format: JSON lines, a header and then one object per request.

Pure. It holds lengths, times and block ids, never a word of what was said. Example:

    {"kvpilot_trace": 1, "name": "tuesday", "block_tokens": 64}
    {"at": 0.0, "prompt": 150, "output": 40, "blocks": [11, 12], "session": "a", "answer": [13]}
    {"at": 1.25, "prompt": 260, "output": 35, "blocks": [11, 12, 13, 14], "session": "a"}

| key | what | when left out |
|---|---|---|
| `at` | arrival in seconds, any origin; lines may be in any order | required |
| `prompt`, `output` | tokens | required |
| `blocks` | ids of the prompt's whole blocks, each standing for its content and all before it | none |
| `answer` | ids of the blocks that the answer completes | unknown |
| `session`, `tenant`, `model`, `pool` | texts | "" |
| `stream` | whether the answer was streamed | true |
| `guessed` | whether nobody told how long the answer was, and `output` is a guess | false |

A line may also be `{"dropped": 12}`: so many requests are missing here, because whoever recorded was too slow.

Unknown keys are errors: a later version that means something new has another number in its header. An id with two
different predecessors is an error too, because no engine could have such a block.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sim.traces.rows import (
    MAX_AT_US,
    MAX_REQUESTS,
    MAX_TOKENS,
    BadRowError,
    Row,
    TraceError,
    ids,
    numbered,
    shown,
    whole,
)
from sim.traces.trace import Trace, TraceRequest

VERSION = 1
MARK = "kvpilot_trace"

HEADER_KEYS = (MARK, "name", "block_tokens")
KEYS = ("at", "prompt", "output", "blocks", "answer", "session", "tenant", "model", "pool", "stream", "guessed")
DROPPED = "dropped"

# Texts are labels, not content: a longer one is a prompt that has got into the wrong place.
MAX_LABEL_CHARACTERS = 256

# Labels are shown on terminals, which would obey some of these; halves of surrogate pairs cannot be written at all.
_NO_LABEL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Recording:
    """A file being read: the header at once, the requests by `rows`. Raises TraceError at the first bad line."""

    # What changes: the position in the file and the predecessors seen. Single writer: `rows`.
    def __init__(self, lines: Iterable[str], source: str) -> None:
        """Read the header."""
        self._source = source
        self._lines = numbered(lines, source)
        self._before: dict[int, int] = {}
        self.missing = 0
        """Requests that were lost when it was recorded, as far as it has been read."""
        number, text = next(self._lines, (0, ""))
        try:
            found = _object(text, HEADER_KEYS)
            if found.get(MARK) != VERSION:
                raise BadRowError(f"version {shown(found.get(MARK))} of the format is unknown, {VERSION} is known")
            self.name = _label(found, "name")
            self.block_tokens = whole(found.get("block_tokens"), "block_tokens", 1, MAX_TOKENS)
        except BadRowError as error:
            raise TraceError(source, number, str(error)) from None

    def rows(self) -> Iterator[Row]:
        """Read the requests line by line."""
        for number, text in self._lines:
            try:
                found = _object(text, (*KEYS, DROPPED))
                if DROPPED in found:
                    self.missing += _dropped(found)
                else:
                    yield self._row(found)
            except BadRowError as error:
                raise TraceError(self._source, number, str(error)) from None

    def _row(self, found: dict[str, Any]) -> Row:
        at = found.get("at")
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= MAX_AT_US / 1e6:
            raise BadRowError(f"at must be a number of seconds from 0 on, not {shown(at)}")
        prompt_tokens = whole(found.get("prompt"), "prompt", 1, MAX_TOKENS)
        blocks = ids(found.get("blocks", []), "blocks")
        if len(blocks) * self.block_tokens > prompt_tokens:
            raise BadRowError(
                f"{prompt_tokens:,} tokens have {prompt_tokens // self.block_tokens} whole blocks of "
                f"{self.block_tokens}, blocks has {len(blocks)}"
            )
        answer = ids(found.get("answer", []), "answer")
        self._check_chain(blocks + answer)
        stream = _flag(found, "stream", default=True)
        _flag(found, "guessed", default=False)
        request = TraceRequest(
            at_s=0.0,
            blocks=blocks,
            prompt_tokens=prompt_tokens,
            output_tokens=whole(found.get("output"), "output", 1, MAX_TOKENS),
            session=_label(found, "session"),
            tenant=_label(found, "tenant"),
            model=_label(found, "model"),
            pool=_label(found, "pool"),
            stream=stream,
            answer_blocks=answer,
        )
        return Row(round(at * 1e6), request)

    def _check_chain(self, blocks: tuple[int, ...]) -> None:
        before = -1
        for block in blocks:
            if self._before.setdefault(block, before) != before:
                raise BadRowError(f"block {block} had another block before it in an earlier place")
            before = block


def lines_of(trace: Trace) -> Iterator[str]:
    """Write a trace, one line after the other without line ends; reading them gives an equal trace."""
    yield _json({MARK: VERSION, "name": trace.name, "block_tokens": trace.block_tokens})
    if trace.missing:
        yield _json({DROPPED: trace.missing})
    for request in trace.requests:
        line: dict[str, object] = {
            "at": request.at_s,
            "prompt": request.prompt_tokens,
            "output": request.output_tokens,
            "blocks": request.blocks,
        }
        optional = {
            "answer": request.answer_blocks,
            "session": request.session,
            "tenant": request.tenant,
            "model": request.model,
            "pool": request.pool,
        }
        line |= {key: value for key, value in optional.items() if value}
        if not request.stream:
            line["stream"] = False
        yield _json(line)


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _dropped(found: dict[str, Any]) -> int:
    if len(found) > 1:
        raise BadRowError(f"{DROPPED} stands alone in its line")
    return whole(found[DROPPED], DROPPED, 1, MAX_REQUESTS)


def _flag(found: dict[str, Any], key: str, *, default: bool) -> bool:
    value = found.get(key, default)
    if not isinstance(value, bool):
        raise BadRowError(f"{key} must be true or false, not {shown(value)}")
    return value


def _object(text: str, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRowError(f"a line must be a JSON object, not {shown(found)}")
    for key in found:
        if key not in known:
            raise BadRowError(f"unknown key {shown(key)}; known here: {', '.join(known)}")
    return found


def _label(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_LABEL_CHARACTERS:
        raise BadRowError(f"{key} must be a text of at most {MAX_LABEL_CHARACTERS} characters, not {shown(value)}")
    if _NO_LABEL.search(value):
        raise BadRowError(f"{key} must be without control characters, not {shown(value)}")
    return value
