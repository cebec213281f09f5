"""`/record`: picked requests as they end, as lines of our own trace format (docs/traces.md), until the client leaves.

    curl -sN 'http://127.0.0.1:9909/record?duration=60' > monday.jsonl

Blank lines, which the format allows, come while there is nothing to tell: by them each side notices that the other has
gone.
"""

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Final

from aiohttp import web

from ext_proc.recording import Recording
from ext_proc.recordings import Recordings, TooManyRecordingsError

POLL_S: Final = 0.2
"""How often what has come is sent: a file may be this late, and a packet carries many lines under load."""

BEAT_S: Final = 1.0
"""How often something is sent, be it an empty line."""

DRAIN_S: Final = 10.0
"""How long requests in flight at a recording's end are waited for; what takes longer is told with a guessed length."""

MAX_REQUESTS: Final = 1_000_000
"""As many as a replay reads."""

MAX_DURATION_S: Final = 7 * 86_400.0
"""A week: the longest that is recorded without being asked for again."""

CONTENT_TYPE: Final = "application/x-ndjson"


class RefusedError(Exception):
    """The recording cannot be made, with the HTTP status that says so."""

    def __init__(self, status: int, text: str) -> None:
        """`text` is for the operator."""
        super().__init__(text)
        self.status = status


async def serve(request: web.Request, recordings: Recordings, name: str) -> web.StreamResponse:
    """Answers one `/record`; raises RefusedError before anything was sent."""
    requests = _number(request.query, "requests", MAX_REQUESTS)
    duration_s = _number(request.query, "duration", MAX_DURATION_S)
    pool = request.query.get("pool", "")
    try:
        recording = recordings.begin(name, pool=pool, requests=None if requests is None else int(requests))
    except KeyError:
        raise RefusedError(404, f"there is no pool {pool[:60]!r}") from None
    except TooManyRecordingsError:
        raise RefusedError(429, "as many recordings as may be are under way already") from None
    response = web.StreamResponse(headers={"content-type": CONTENT_TYPE})
    try:
        await response.prepare(request)
        await _tell(response, recording, inf if duration_s is None else duration_s)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has left, which is how most recordings end
    finally:
        recordings.end(recording)
    return response


async def _tell(response: web.StreamResponse, recording: Recording, duration_s: float) -> None:
    clock = asyncio.get_running_loop().time
    beat_at = clock()
    until = beat_at + duration_s
    stopped_at: float | None = None
    while not recording.is_done and (stopped_at is None or clock() < stopped_at + DRAIN_S):
        lines = recording.take()
        if lines or clock() >= beat_at:
            await response.write(lines or b"\n")
            beat_at = clock() + BEAT_S
        if clock() >= until:
            recording.stop_taking()
        if stopped_at is None and not recording.is_taking:
            stopped_at = clock()
        if not recording.is_done:
            await asyncio.sleep(POLL_S)
    recording.finish()
    await response.write(recording.take())


def _number(query: Mapping[str, str], key: str, most: float) -> float | None:
    """A positive number of the query; None where it is not there."""
    text = query.get(key)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise RefusedError(400, f"{key} must be a number above 0 and at most {most:,.0f}, not {text[:20]!r}")
    return value
