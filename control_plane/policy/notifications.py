"""`notifications`: who is told when something goes wrong, and of what. `docs/notifications.md` says more.

notifications:
  webhooks:
    - {name: oncall, format: slack, urlFile: slack-url.txt, severity: critical}
    - {name: alerts, format: alertmanager, url: "http://alertmanager:9093"}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.notices.formats import FORMATS, JSON
from control_plane.notices.kinds import KINDS, SEVERITIES, WARNING
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf, NamedList
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.identity_kinds import MAX_TEXT
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.names import HEADER_PATTERN, MAX_NAME, plain_name
from control_plane.policy.scalars import Boolean, Choice, Percent, Text
from control_plane.policy.security import FILE
from control_plane.policy.units import Duration
from ext_proc.core.address import MAX_PORT

MAX_WEBHOOKS = 16
"""Each is a task with a connection of its own; whoever must tell more people has an Alertmanager."""

EXPIRY_WARNING_S = 14 * 86_400.0
"""Time to find whoever can renew a certificate that does not renew itself."""

MAX_HEADERS = 32
"""Further headers of a webhook."""

WEBHOOK_NAME = plain_name("the name of a webhook")
SOURCE = Text("a name (letters, digits, `.`, `_`, `-`, `:`, `/`)", r"[A-Za-z0-9][A-Za-z0-9._:/-]*", MAX_NAME)

OUR_HEADERS = frozenset(
    {"host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding"}
)
"""What the request itself says of its body and its connection."""

HEADER = Text("the name of a header (letters, digits, `-`, `_`)", HEADER_PATTERN, MAX_NAME, is_lower_cased=True)
HEADER_VALUE = Text(
    "the value of a header (printable ASCII)", r"[!-~](?:[ -~]*[!-~])?", MAX_TEXT, code=Code.NOT_A_VALUE
)

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_URL = rf"(https?)://{_HOST}(?::([0-9]{{1,5}}))?(?:[/?][!-\"$-~]*)?"
"""Without a user before the host, which would be a password in a log, and without a fragment, which is not sent."""


def url_fault(text: str) -> str:
    """Why a text is no address that notices can be sent to; empty if it is one."""
    found = re.fullmatch(_URL, text) if len(text) <= MAX_TEXT else None
    if found is None:
        return "it is not an http or https URL such as https://alerts.example.com/hook"
    if found[2] is not None and not 1 <= int(found[2]) <= MAX_PORT:
        return "it has an impossible port"
    return ""


@dataclass(frozen=True, slots=True)
class WebhookUrl(ScalarKind[str]):
    """An http or https URL."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a URL such as https://alerts.example.com/hook"

    def parse(self, text: str) -> str:
        """The URL; raises ValueRefusedError."""
        fault = url_fault(text)
        if fault:
            raise ValueRefusedError(f"{quoted(text)}: {fault}")
        return text

    def schema(self) -> Json:
        """Its form."""
        return {"type": "string", "pattern": f"^(?:{_URL})$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`http://` or `https://` URL"


@block(one_of=("url", "urlFile"))
class Webhook(Block):
    """Somebody who is told over HTTP."""

    name: str = setting(WEBHOOK_NAME, doc="Its name, for metrics, the status and the log.")
    format: str = setting(
        Choice(FORMATS),
        default=JSON,
        doc="What is sent. `json`: an object for each notice. `slack`: a message of a Slack incoming webhook, which "
        "Mattermost, Rocket.Chat and Discord take, too. `alertmanager`: alerts of Alertmanager's API v2.",
    )
    url: str = setting(
        WebhookUrl(),
        default="",
        absent=("", "none"),
        doc="Where it is sent (POST). For `alertmanager` its own address is enough: `/api/v2/alerts` is added. Exactly "
        "one of `url` and `urlFile`.",
    )
    url_file: str = setting(
        FILE, default="", absent=("", "none"), doc="A file with the URL, where that is a secret; it is watched."
    )
    kinds: tuple[str, ...] = setting(
        ListOf(Choice(tuple(KINDS))), default=(), absent=((), "all"), doc="What it is told of."
    )
    severity: str = setting(Choice(SEVERITIES), default=WARNING, doc="The least severity that it is told of.")
    recoveries: bool = setting(Boolean(), default=True, doc="Whether it is told when something is over.")
    resend_s: float | None = setting(
        Duration("5s", "24h"),
        default=None,
        absent=(None, "`1m` for `alertmanager`, never for the others"),
        doc="How often it is told again of what is still open.",
    )
    timeout_s: float = setting(Duration("100ms", "1m"), default=5.0, doc="How long one try may take.")
    headers: Mapping[str, str] = setting(
        MapOf(HEADER, HEADER_VALUE, MAX_HEADERS),
        default_factory=dict,
        hash=False,
        doc="Further headers of the request. For secrets there is `bearerTokenFile`.",
    )
    bearer_token_file: str = setting(
        FILE,
        default="",
        absent=("", "no token is sent"),
        doc="File with the token that the receiver wants (`authorization: Bearer …`); it is watched.",
    )
    ca_certificates: str = setting(
        FILE,
        default="",
        absent=("", "those of the machine that kvpilot runs on"),
        doc="PEM file with the authorities that the receiver's certificate must come from.",
    )


@block()
class Notifications(Block):
    """Who is told when something goes wrong. What is open is in the log, the status and the metrics in any case."""

    webhooks: tuple[Webhook, ...] = setting(
        NamedList("webhooks", BlockOf(Webhook), maximum=MAX_WEBHOOKS), default=(), doc="Who is told over HTTP."
    )
    source: str = setting(
        SOURCE, default="", absent=("", "the machine's host name"), doc="Which kvpilot it is that tells."
    )
    clear_after_s: float = setting(
        Duration("0s", "1h"),
        default=30.0,
        doc="How long something must have been well to be over. What comes back within is the same trouble; for what "
        "comes back soon after its end this is doubled each time, up to 16 times.",
    )
    ejected_percent: int = setting(
        Percent(),
        default=25,
        doc="The share of a pool's endpoints that must have failed for `endpoints-out`.",
    )
    expiry_warning_s: float = setting(
        Duration("0s", "8760h"),
        default=EXPIRY_WARNING_S,
        absent=(EXPIRY_WARNING_S, "`336h`, two weeks"),
        doc="How long before its end a certificate is told of.",
    )
