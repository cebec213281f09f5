"""What is sent, to the letter: the formats are other people's."""

from dataclasses import replace

import pytest

from control_plane.notices import formats, kinds
from control_plane.notices.notice import Notice
from tests.unit.control_plane.notices.making import notice

OPEN = notice(
    "chat",
    kind=kinds.ENDPOINTS_OUT,
    severity=kinds.CRITICAL,
    summary="pool chat: all 2 endpoints fail",
    facts={"pool": "chat", "out": 2},
    started_at=1_795_132_800.5,
)
OVER = replace(OPEN, ended_at=1_795_132_860.25)
NOW = 1_795_132_830.0


def body(format_: str, one: Notice = OPEN, resend_s: float | None = None) -> object:
    """What is sent of one notice."""
    return formats.body(format_, (one,), source="host-1", resend_s=resend_s, wall=NOW)


def test_json() -> None:
    """Our own."""
    expected = {
        "version": 1,
        "id": OPEN.id,
        "state": "open",
        "kind": "endpoints-out",
        "severity": "critical",
        "subject": "chat",
        "summary": "pool chat: all 2 endpoints fail",
        "facts": {"pool": "chat", "out": 2},
        "started_at": "2026-11-20T00:00:00.500Z",
        "ended_at": None,
        "source": "host-1",
    }
    assert body("json") == expected
    assert body("json", OVER) == {**expected, "state": "recovered", "ended_at": "2026-11-20T00:01:00.250Z"}


def test_slack() -> None:
    """A text that stands in notifications of phones, and an attachment with the facts."""
    line = "[CRITICAL] pool chat: all 2 endpoints fail"
    assert body("slack") == {
        "text": line,
        "attachments": [
            {
                "color": "danger",
                "fallback": line,
                "fields": [
                    {"title": "pool", "value": "chat", "short": True},
                    {"title": "out", "value": "2", "short": True},
                ],
                "footer": "kvpilot host-1 · endpoints-out",
                "ts": 1_795_132_800,
            }
        ],
    }
    message = formats.body("slack", (OVER,), source="host-1", resend_s=None, wall=NOW)
    assert message["text"] == "[RECOVERED] pool chat: all 2 endpoints fail"
    (attachment,) = message["attachments"]
    assert (attachment["color"], attachment["ts"]) == ("good", 1_795_132_860)
    assert attachment["fields"][-1] == {"title": "lasted", "value": "60 s", "short": True}


def test_nobody_can_call_a_channel() -> None:
    """Words of others are escaped: `<!channel>` in an error text rings nobody's phone."""
    hostile = replace(OPEN, summary="<!channel> & co", facts={"error": "<@U1>"})
    message = formats.body("slack", (hostile,), source="h", resend_s=None, wall=NOW)
    assert message["text"] == "[CRITICAL] &lt;!channel&gt; &amp; co"
    assert "<" not in str(message)
    assert message["attachments"][0]["fields"][0]["value"] == "&lt;@U1&gt;"


def test_alertmanager() -> None:
    """An alert that ends four resends from now unless it is sent again; the end of a trouble is its end."""
    expected = {
        "labels": {
            "alertname": "KvpilotEndpointsOut", "severity": "critical", "subject": "chat", "instance": "host-1",
        },
        "annotations": {"summary": "pool chat: all 2 endpoints fail", "pool": "chat", "out": "2"},
        "startsAt": "2026-11-20T00:00:00.500Z",
        "endsAt": "2026-11-20T00:04:30.000Z",
    }  # fmt: skip
    assert body("alertmanager") == [expected]
    assert body("alertmanager", resend_s=10.0) == [{**expected, "endsAt": "2026-11-20T00:01:10.000Z"}]
    assert body("alertmanager", OVER) == [{**expected, "endsAt": "2026-11-20T00:01:00.250Z"}]


def test_an_alert_that_got_worse() -> None:
    """Alertmanager knows alerts by their labels, so the one with the old severity is over."""
    first, second = formats.body(
        "alertmanager", (replace(OPEN, was=kinds.WARNING),), source="h", resend_s=None, wall=NOW
    )
    assert (first["labels"]["severity"], second["labels"]["severity"]) == ("critical", "warning")
    assert second["endsAt"] == "2026-11-20T00:00:30.000Z"


def test_several_alerts_in_one_request() -> None:
    """Only Alertmanager takes more than one at a time."""
    assert [formats.batch_size(one) for one in formats.FORMATS] == [1, 1, formats.MAX_ALERTS]
    sent = formats.body("alertmanager", (OPEN, notice("b")), source="h", resend_s=None, wall=NOW)
    assert [alert["labels"]["subject"] for alert in sent] == ["chat", "b"]


@pytest.mark.parametrize(
    ("format_", "url", "expected"),
    [
        ("json", "http://a/", "http://a/"),
        ("slack", "http://a", "http://a"),
        ("alertmanager", "http://a", "http://a/api/v2/alerts"),
        ("alertmanager", "http://a/am/", "http://a/am/api/v2/alerts"),
        ("alertmanager", "http://a/api/v2/alerts", "http://a/api/v2/alerts"),
        ("alertmanager", "http://a/x?y=1", "http://a/x?y=1"),
    ],
)
def test_where_it_goes(format_: str, url: str, expected: str) -> None:
    """Of an Alertmanager its own address is enough; everything else is as the policy says."""
    assert formats.address(format_, url) == expected
