"""`kvpilot record -o FILE`: the requests that a running sidecar picks, as a trace that `kvpilot replay` plays."""

import argparse
import http.client
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from control_plane.cli.admin_client import AdminError, add_admin, connection, error_text, reason_of
from control_plane.cli.argument_types import number

NAME = "record"
HELP = "record what a running sidecar picks, as a trace without a word of the prompts"

MAX_REQUESTS = 1_000_000
"""As many as a replay reads."""

MAX_DURATION_S = 7 * 86_400
"""A week, as the sidecar's own limit."""

READ_BYTES = 1 << 20
"""At once; what has come is written without waiting for so much."""

MARK = "kvpilot_trace"
"""What tells the header of our own format."""

MAX_LINE_BYTES = 4_000_000
"""As the reader's limit: what sends a longer one is no sidecar."""

_OWNER_ONLY = 0o600
"""Who asked when, and how long the prompts were, is nobody else's business."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much of what, and where to."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a file that is not there yet")
    parser.add_argument(
        "--duration",
        type=number(1, MAX_DURATION_S),
        metavar="SECONDS",
        help="end after so long (default: with Ctrl-C)",
    )
    parser.add_argument("--requests", type=number(1, MAX_REQUESTS), metavar="N", help="end after so many requests")
    parser.add_argument("--pool", default="", help="only the requests of this pool (default: of all)")
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Records until the end, or Ctrl-C; 1 when it could not begin, or the sidecar went away before the end."""
    try:
        file = _File(args.output)
    except OSError as error:
        hint = "; a recording is not added to another one" if isinstance(error, FileExistsError) else ""
        print(f"{args.output}: {error.strerror}{hint}", file=sys.stderr)
        return 1
    before = signal.signal(signal.SIGTERM, _interrupt)
    problem = ""
    try:
        _follow(args, file)
    except KeyboardInterrupt:
        pass  # the usual end
    except AdminError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{args.output}: {error.strerror or error}"
    finally:
        signal.signal(signal.SIGTERM, before)
        file.close()
    if problem:
        print(problem, file=sys.stderr)
    print(file.summary(), file=sys.stderr)
    return int(bool(problem))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow(args: argparse.Namespace, file: "_File") -> None:
    """Writes lines as they come; raises AdminError when they end too early."""
    from urllib.parse import urlencode

    query = {"duration": args.duration, "requests": args.requests, "pool": args.pool}
    asked = connection(args.admin)
    try:
        asked.request("GET", f"/record?{urlencode({key: value for key, value in query.items() if value})}")
        answer = asked.getresponse()
        if answer.status != 200:
            raise AdminError(_words(answer, args.admin))
        print(f"recording into {args.output}; Ctrl-C ends it", file=sys.stderr)
        while data := answer.read1(READ_BYTES):
            file.take(data)
    except _NotOursError as error:
        raise AdminError(f"what answers at {args.admin} is no kvpilot: {error}") from error
    except http.client.IncompleteRead as error:
        raise AdminError(f"the sidecar at {args.admin} is gone") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        what = f"the sidecar at {args.admin} is gone" if file.is_begun else f"no sidecar answers at {args.admin}"
        raise AdminError(f"{what}: {reason_of(error)}") from error
    finally:
        asked.close()


def _words(answer: http.client.HTTPResponse, admin: str) -> str:
    try:
        text = error_text(json.loads(answer.read(READ_BYTES)))
    except ValueError:
        text = ""
    return text or f"what answers at {admin} cannot record: status {answer.status}"


class _NotOursError(Exception):
    """What comes is no recording."""


@dataclass(slots=True)
class _File:
    """A file that holds whole lines at every moment.

    Mutable: the descriptor, what has come of a line that is not whole, and the counts. Raises FileExistsError for a
    file that is there, and OSError for one that cannot be made.
    """

    path: Path
    requests: int = 0
    guessed: int = 0
    dropped: int = 0
    is_begun: bool = False
    _descriptor: int = field(init=False)
    _size: int = 0
    _rest: bytes = b""
    _began_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _OWNER_ONLY)

    def take(self, data: bytes) -> None:
        """Writes the lines that are whole now. Raises OSError, with no half line left behind, and _NotOursError."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise _NotOursError("its lines have no end")
        lines = [line for line in whole.split(b"\n") if line] if newline else []
        if not lines:
            return
        read = [_line(line) for line in lines]
        if not self.is_begun and MARK not in read[0]:
            raise _NotOursError("its first line is no header")
        self._write(b"\n".join(lines) + b"\n")
        for each in read:
            self._count(each)

    def _write(self, text: bytes) -> None:
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BaseException:
            os.ftruncate(self._descriptor, self._size)  # a full disk, or Ctrl-C in between
            raise
        self._size += len(text)

    def _count(self, line: dict[str, object]) -> None:
        if "at" in line:
            self.requests += 1
            self.guessed += bool(line.get("guessed"))
        elif isinstance(dropped := line.get("dropped"), int):
            self.dropped += dropped
        self.is_begun = True

    def close(self) -> None:
        """Ends the file; one in which there is nothing is removed."""
        os.close(self._descriptor)
        if not self._size:
            self.path.unlink(missing_ok=True)

    def summary(self) -> str:
        """What is in it, in words."""
        if not self._size:
            return "nothing was recorded"
        words = [f"{self.path}: {self.requests:,} requests in {time.monotonic() - self._began_at:,.0f} s"]
        if self.guessed:
            words.append(f"{self.guessed:,} of them with a guessed length of the answer, which nobody told")
        if self.dropped:
            words.append(f"{self.dropped:,} more were lost, because this side was too slow")
        return "; ".join(words)


def _line(text: bytes) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _NotOursError("a line is no JSON object")
    return found
