"""What is sent to a webhook, as JSON values. Pure.

- `json`: one object per notice, ours.
- `slack`: a message of a Slack incoming webhook, `text` with one attachment (docs.slack.dev, "Sending messages using
  incoming webhooks" and "Formatting message text"); Mattermost, Rocket.Chat and Discord (`/slack`) take it, too.
- `alertmanager`: the array of alerts of `POST /api/v2/alerts` (prometheus.io, "Alerts API"). An alert that is on must
  be sent again and again; it ends `LEASE` resends later if that stops, as Prometheus itself does it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from control_plane.notices.kinds import CRITICAL, INFO, WARNING
from control_plane.notices.notice import Notice

JSON: Final = "json"
SLACK: Final = "slack"
ALERTMANAGER: Final = "alertmanager"
FORMATS: Final = (JSON, SLACK, ALERTMANAGER)

ALERTS_PATH: Final = "/api/v2/alerts"

ALERT_RESEND_S: Final = 60.0
"""How often alerts that are on are sent again unless the policy says: Prometheus' `--rules.alert.resend-delay`."""

LEASE: Final = 4
"""Resends after which an alert that nobody sends any more is over: three may get lost."""

MAX_ALERTS: Final = 50
"""Alerts of one request."""

FORMAT_VERSION: Final = 1
"""Of the `json` format: it grows by keys; a change of what one means is another number."""

_COLORS: Final = {INFO: "#439FE0", WARNING: "warning", CRITICAL: "danger"}
_OVER_COLOR: Final = "good"


def batch_size(format_: str) -> int:
    """How many notices go into one request."""
    return MAX_ALERTS if format_ == ALERTMANAGER else 1


def body(format_: str, batch: Sequence[Notice], *, source: str, resend_s: float | None, wall: float) -> Any:
    """The JSON value for a batch, which is not empty; `source` says which kvpilot speaks, `wall` is now."""
    if format_ == ALERTMANAGER:
        lease_s = LEASE * (resend_s or ALERT_RESEND_S)
        return [alert for notice in batch for alert in _alerts(notice, source, lease_s, wall)]
    (notice,) = batch
    return _slack(notice, source) if format_ == SLACK else _plain(notice, source)


def address(format_: str, url: str) -> str:
    """Where a batch goes: of an Alertmanager its own address is enough."""
    if format_ != ALERTMANAGER or "?" in url or url.endswith(ALERTS_PATH):
        return url
    return url.rstrip("/") + ALERTS_PATH


def headline(notice: Notice) -> str:
    """One line: what state, what."""
    return f"[{'RECOVERED' if notice.is_over else notice.severity.upper()}] {notice.summary}"


def _plain(notice: Notice, source: str) -> dict[str, Any]:
    return {
        "version": FORMAT_VERSION,
        "id": notice.id,
        "state": "recovered" if notice.is_over else "open",
        "kind": notice.kind,
        "severity": notice.severity,
        "subject": notice.subject,
        "summary": notice.summary,
        "facts": dict(notice.facts),
        "started_at": _time(notice.started_at),
        "ended_at": None if notice.ended_at is None else _time(notice.ended_at),
        "source": source,
    }


def _slack(notice: Notice, source: str) -> dict[str, Any]:
    line = _escaped(headline(notice))
    fields = [
        {"title": _escaped(_words(name)), "value": _escaped(str(fact)), "short": len(str(fact)) <= 40}
        for name, fact in notice.facts.items()
    ]
    if notice.ended_at is not None:
        lasted = f"{round(notice.ended_at - notice.started_at):,} s"
        fields.append({"title": "lasted", "value": lasted, "short": True})
    return {
        "text": line,
        "attachments": [
            {
                "color": _OVER_COLOR if notice.is_over else _COLORS[notice.severity],
                "fallback": line,
                "fields": fields,
                "footer": _escaped(f"kvpilot {source} · {notice.kind}"),
                "ts": round(notice.started_at if notice.ended_at is None else notice.ended_at),
            }
        ],
    }


def _alerts(notice: Notice, source: str, lease_s: float, wall: float) -> list[dict[str, Any]]:
    """The alert. Its severity is one of the labels by which Alertmanager knows it: when that has got worse, the one
    with the old severity is over."""
    ends_at = wall + lease_s if notice.ended_at is None else notice.ended_at
    made = [_alert(notice, notice.severity, source, ends_at)]
    if notice.was and not notice.is_over:
        made.append(_alert(notice, notice.was, source, max(wall, notice.started_at)))
    return made


def _alert(notice: Notice, severity: str, source: str, ends_at: float) -> dict[str, Any]:
    return {
        "labels": {
            "alertname": "Kvpilot" + "".join(part.capitalize() for part in notice.kind.split("-")),
            "severity": severity,
            "subject": notice.subject,
            "instance": source,
        },
        "annotations": {"summary": notice.summary, **{name: str(fact) for name, fact in notice.facts.items()}},
        "startsAt": _time(notice.started_at),
        "endsAt": _time(ends_at),
    }


def _escaped(text: str) -> str:
    """Slack's three characters of control: without them nobody's error text can call a whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _time(at: float) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
