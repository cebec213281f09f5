"""Conditions and notices that several tests use."""

from typing import Any

from control_plane.notices import kinds
from control_plane.notices.notice import Condition, Notice


def condition(kind: str = kinds.POLICY, subject: str = "a", **more: Any) -> Condition:
    """One that is told at once (its kind waits for nothing)."""
    return Condition(kind=kind, subject=subject, **{"summary": f"{kind} of {subject}", **more})


def notice(subject: str = "a", **more: Any) -> Notice:
    """An open one."""
    given = {"kind": kinds.POLICY, "severity": kinds.WARNING, "summary": f"trouble of {subject}", "started_at": 1000.0}
    return Notice(subject=subject, **{**given, **more})
