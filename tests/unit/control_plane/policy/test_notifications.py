"""What a policy says about notifications."""

import pytest

from control_plane.notices.kinds import KINDS
from control_plane.policy import load
from control_plane.policy.named_files import Authorities, Token, named_files
from control_plane.policy.notifications import MAX_WEBHOOKS, Notifications, Webhook, url_fault
from tests.unit.control_plane.policy.samples import MINIMAL, document


def with_notifications(text: str) -> str:
    """The smallest policy with this as its `notifications`."""
    return f"{MINIMAL}notifications: {text}\n"


def notifications(text: str) -> Notifications:
    """What that policy says."""
    return document(with_notifications(text)).policy.notifications


def test_nobody_is_told_by_default() -> None:
    """The log, the status and the metrics are there anyway."""
    assert document(MINIMAL).policy.notifications == notifications("{}") == Notifications()
    assert notifications("{webhooks: [{name: a, url: 'http://x'}]}").webhooks == (Webhook(name="a", url="http://x"),)


def test_everything() -> None:
    """All keys of it."""
    assert notifications(
        "{source: edge-1, clearAfter: 1m, ejectedPercent: 50%, expiryWarning: 72h, webhooks: [{name: a, format: slack, "
        "urlFile: u, kinds: [policy, endpoints-out], severity: critical, recoveries: false, resend: 5m, timeout: 1s, "
        "headers: {X-Team: gpu}, bearerTokenFile: t, caCertificates: c}]}"
    ) == Notifications(
        source="edge-1",
        clear_after_s=60.0,
        ejected_percent=50,
        expiry_warning_s=72 * 3600.0,
        webhooks=(
            Webhook(
                name="a",
                format="slack",
                url_file="u",
                kinds=("policy", "endpoints-out"),
                severity="critical",
                recoveries=False,
                resend_s=300.0,
                timeout_s=1.0,
                headers={"x-team": "gpu"},
                bearer_token_file="t",
                ca_certificates="c",
            ),
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_chosen(kind: str) -> None:
    """By its name."""
    assert notifications(f"{{webhooks: [{{name: a, url: 'http://x', kinds: [{kind}]}}]}}").webhooks[0].kinds == (kind,)


@pytest.mark.parametrize(
    ("webhook", "at", "code"),
    [
        ("name: a", "{name", "KP203"),
        ("name: a, url: 'http://x', urlFile: f", "urlFile", "KP214"),
        ("name: a, url: 'ftp://x'", "'ftp", "KP206"),
        ("name: a, url: 'http://user:secret@x/'", "'http", "KP206"),
        ("name: a, url: 'http://x:99999'", "'http", "KP206"),
        ("name: a, url: 'http://x', kinds: [nothing]", "nothing", "KP208"),
        ("name: a, url: 'http://x', severity: bad", "bad", "KP208"),
        ("name: a, url: 'http://x', format: teams", "teams", "KP208"),
        ("name: a, url: 'http://x', resend: 1s", "1s", "KP207"),
        ("name: a b, url: 'http://x'", "a b", "KP209"),
        ("name: a, url: 'http://x', headers: {'a b': c}", "'a b'", "KP209"),
        ("name: a, url: 'http://x', headers: {a: 'bé'}", "'b", "KP206"),
        ("name: a, url: 'http://x', bearerTokenFile: t, headers: {Authorization: z}", "z}", "KP214"),
        ("name: a, url: 'http://x', caCertificates: ca.pem", "ca.pem", "KP902"),
        ("name: a, url: 'http://x', headers: {Content-Type: text/xml}", "text/xml", "KP902"),
    ],
)
def test_findings(webhook: str, at: str, code: str) -> None:
    """One, where it is wrong."""
    text = with_notifications(f"{{webhooks: [{{{webhook}}}]}}")
    (found,) = load(text, "p.yaml").diagnostics
    line = text.splitlines()[-1]
    assert (found.line, found.column, found.code) == (5, line.find(at) + 1, code)


def test_two_of_one_name_and_too_many() -> None:
    """Metrics go by the name; there is a bound."""
    one = "{name: a, url: 'http://x'}"
    assert [each.code for each in load(with_notifications(f"{{webhooks: [{one}, {one}]}}"), "p").diagnostics] == [
        "KP302"
    ]
    many = ", ".join(f"{{name: n{number}, url: 'http://x'}}" for number in range(MAX_WEBHOOKS + 1))
    assert [each.code for each in load(with_notifications(f"{{webhooks: [{many}]}}"), "p").diagnostics] == ["KP213"]


@pytest.mark.parametrize(
    "url", ["https://hooks.slack.com/services/T0/B0/x", "http://[::1]:9093", "http://a.b:1/c?d=e&f=%20", "http://a?b"]
)
def test_good_urls(url: str) -> None:
    """What receivers have."""
    assert url_fault(url) == ""


@pytest.mark.parametrize("url", ["", "http://", "x", "http://a b", "http://a/\n", "http://a/#b", "http://a" * 1000])
def test_bad_urls(url: str) -> None:
    """What nobody can send to; the same is asked of the content of a `urlFile`."""
    assert url_fault(url)


def test_files() -> None:
    """They are watched like all others."""
    text = "{webhooks: [{name: a, urlFile: u, bearerTokenFile: t, caCertificates: c}, {name: b, url: 'http://x'}]}"
    path = "notifications.webhooks.a"
    assert named_files(document(with_notifications(text)).policy) == (
        Token(f"{path}.urlFile", "u"),
        Token(f"{path}.bearerTokenFile", "t"),
        Authorities(f"{path}.caCertificates", "", "c"),
    )
