"""`accessLog`: one JSON line per request, on Envoy's standard output or in a file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.log_format import MAX_FORMAT, format_problem
from control_plane.policy.scalars import Integer, Text
from control_plane.policy.units import Duration

STDOUT, STDERR = "/dev/stdout", "/dev/stderr"

MAX_ACCESS_LOGS = 8
"""Logs of one listener; each is written for each request."""

MAX_LOG_FIELDS = 64
"""Fields that a policy adds: Envoy writes all of them for each request."""

_LOG_PATH = Text("the absolute path of a file (printable ASCII without blanks)", "/[!-~]+", 4096, code=Code.NOT_A_VALUE)
_FIELD_NAME = Text("the name of a field (letters, digits, `.`, `_`, `-`)", "[A-Za-z0-9_][A-Za-z0-9._-]*", 128)


@dataclass(frozen=True, slots=True)
class LogFormat(ScalarKind[str]):
    """Text with Envoy's command operators in it, such as `%REQ(x-team)%`."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a text with Envoy's command operators, such as %REQ(x-team)%"

    def parse(self, text: str) -> str:
        """The text itself; raises ValueRefusedError."""
        if len(text) > MAX_FORMAT or re.search("[\\x00-\\x1f\\x7f]", text):
            raise ValueRefusedError(f"{quoted(text)} is not a text of at most {MAX_FORMAT} characters on one line")
        message, hint = format_problem(text)
        if message:
            raise ValueRefusedError(message, hint)
        return text

    def schema(self) -> Json:
        """A text."""
        return {"type": ["string", "number", "boolean"], "maxLength": MAX_FORMAT}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "text with Envoy's command operators"


@block()
class AccessLogFilter(Block):
    """Which requests are logged: those that meet all that is given."""

    min_status: int = setting(Integer(0, 599), default=0, doc="Only answers with this status or a higher one.")
    min_duration_s: float = setting(
        Duration("0s", "24h"),
        default=0.0,
        doc="Only requests that took this long, from their first byte to the answer's last.",
    )


@block()
class AccessLog(Block):
    """A JSON line for each request when it has ended, beside what kvpilot itself is told."""

    path: str = setting(
        _LOG_PATH,
        default=STDOUT,
        doc=f"The file, on Envoy's machine; its directory must exist there. `{STDOUT}` and `{STDERR}` are Envoy's own. "
        "Envoy keeps the file open: after a rotation it is opened anew by `POST /reopen_logs` of Envoy's admin port.",
    )
    fields: Mapping[str, str] = setting(
        MapOf(_FIELD_NAME, LogFormat(), MAX_LOG_FIELDS),
        default_factory=dict,
        hash=False,
        doc='Fields beside the usual ones, or in place of one of the same name: `team: "%REQ(x-team)%"`; an empty text '
        "takes a usual field out.",
    )
    filter: AccessLogFilter = setting(
        BlockOf(AccessLogFilter), default=AccessLogFilter(), doc="Which requests are logged."
    )
