"""Notices as JSON values, and back: for the status, and for what outlives a restart. Pure."""

import math
from collections.abc import Iterator
from typing import Any

from control_plane.notices.board import MAX_KNOWN
from control_plane.notices.kinds import KINDS, SEVERITIES
from control_plane.notices.notice import Notice


def as_json(notice: Notice) -> dict[str, Any]:
    """An open notice; `started_at` in seconds since 1970."""
    return {
        "id": notice.id,
        "kind": notice.kind,
        "subject": notice.subject,
        "severity": notice.severity,
        "summary": notice.summary,
        "started_at": notice.started_at,
        "facts": dict(notice.facts),
    }


def notices_in(value: object) -> tuple[Notice, ...]:
    """What `as_json` gave of each; what cannot be read is left out, and told again if it is still true."""
    return tuple(_read(value)) if isinstance(value, list) else ()


def _read(rows: list[Any]) -> Iterator[Notice]:
    for row in rows[:MAX_KNOWN]:
        try:
            notice = Notice(
                kind=str(row["kind"]),
                subject=str(row["subject"]),
                severity=str(row["severity"]),
                summary=str(row["summary"]),
                started_at=float(row["started_at"]),
                facts={str(name): fact for name, fact in row["facts"].items() if isinstance(fact, str | int | float)},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        is_known = notice.kind in KINDS and notice.severity in SEVERITIES
        if is_known and math.isfinite(notice.started_at) and 0 <= notice.started_at < 1e11:
            yield notice
