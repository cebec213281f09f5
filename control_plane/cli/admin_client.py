"""Asks a running sidecar over its admin HTTP (docs/operations.md)."""

import argparse
import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from control_plane.cli.argument_types import address

DEFAULT_ADMIN = "127.0.0.1:9909"

TIMEOUT_S = 10.0
"""A status takes milliseconds; a forced reload compiles the whole policy: a second with 10,000 endpoints."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A status of 10,000 endpoints has about 3 MB."""


class AdminError(Exception):
    """The sidecar cannot be asked, or what answers is none."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def add_admin(parser: argparse.ArgumentParser) -> None:
    """The argument that says which sidecar."""
    parser.add_argument(
        "--admin",
        type=address,
        default=DEFAULT_ADMIN,
        metavar="ADDR",
        help="admin HTTP of the running sidecar (default %(default)s)",
    )


def ask(admin: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """The status and the JSON of an answer; raises AdminError where there is none."""
    asked = connection(admin)
    try:
        data = None if body is None else json.dumps(body).encode()
        asked.request(method, path, data, {"content-type": "application/json"} if data else {})
        answer = asked.getresponse()
        text = answer.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(f"no sidecar answers at {admin}: {reason_of(error)}") from error
    finally:
        asked.close()
    try:
        return answer.status, json.loads(text)
    except ValueError as error:
        raise AdminError(f"what answers at {admin} is no kvpilot: status {answer.status}, no JSON") from error


def ask_for(admin: str, method: str, path: str, body: object = None, *, expected: int = 200) -> Any:
    """The JSON of an answer with the status `expected`; raises AdminError for any other, in the sidecar's own words."""
    status, answer = ask(admin, method, path, body)
    if status != expected:
        raise AdminError(error_text(answer) or f"the sidecar answers {status}")
    return answer


def finding_line(finding: Mapping[str, Any]) -> str:
    """A finding of an answer's `diagnostics`, as `kvpilot check` says it, without hint and excerpt."""
    place = f"{finding['file']}:{finding['line']}:{finding['column']}"
    return f"{place}: {finding['severity']} [{finding['code']}] {finding['message']}"


def error_text(answer: Any) -> str:
    """The words of an error answer: `{"error": "…"}` or `{"error": {"message": "…"}}`."""
    error = answer.get("error", "") if isinstance(answer, dict) else ""
    return str(error.get("message", "") if isinstance(error, dict) else error)


def reason_of(error: BaseException) -> str:
    """An error of the connection in few words."""
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def connection(admin: str) -> http.client.HTTPConnection:
    """A connection to the sidecar, not opened yet."""
    from ext_proc.core.address import UnixAddress, parse_address

    parsed = parse_address(admin)
    if isinstance(parsed, UnixAddress):
        return _UnixConnection(parsed.path)
    return http.client.HTTPConnection(parsed.host, parsed.port, timeout=TIMEOUT_S)
