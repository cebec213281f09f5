"""Kinds of single values in tokens and rules: names, patterns, URIs, ranges of addresses, keys of conditions."""

import ipaddress
import re
from dataclasses import dataclass

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.names import HEADER_PATTERN, MAX_NAME, plain_name
from control_plane.policy.scalars import Text
from ext_proc.core.address import MAX_PORT

MAX_TEXT = 2048
"""Characters of an issuer, an audience, a URI or a pattern: a SPIFFE id has at most 2,048 bytes (SPIFFE-ID standard,
section 2.3), and the others are no documents either."""

MAX_KEY = 512
"""Characters of the name of a claim, and of a condition's key with one in it: claims of some issuers are URIs."""

MAX_JWKS = 1024 * 1024
"""Characters of a key set that stands in the policy: hundreds of keys; more of them come from a file or a server."""

PROVIDER_NAME = plain_name("a name")
ISSUER = Text("an issuer (printable ASCII without blanks)", "[!-~]+", MAX_TEXT, code=Code.NOT_A_VALUE)
TEXT = Text("a text (printable)", r"[^\x00-\x1f\x7f]+", MAX_TEXT, code=Code.NOT_A_VALUE)
JWKS = Text("a JSON Web Key Set", r"[^\x00-\x08\x0e-\x1f]+", MAX_JWKS, code=Code.NOT_A_VALUE)
TOKEN_HEADER = Text("the name of a header", HEADER_PATTERN, MAX_NAME, is_lower_cased=True)
CLAIM = Text(
    "the name of a claim (`.` leads into nested ones)", r"[A-Za-z0-9_:/@$-][A-Za-z0-9_.:/@$-]*", MAX_KEY,
    code=Code.NOT_A_VALUE,
)  # fmt: skip
_PART = r"[^\x00-\x20\x7f*][^\x00-\x1f\x7f*]*"
PATTERN = Text(
    "a text with at most one `*`, at its start or its end",
    rf"\*|\*?{_PART}|{_PART}\*",
    MAX_TEXT,
    code=Code.NOT_A_VALUE,
)
"""What Istio's authorization rules compare with: an exact text, `prefix*`, `*suffix`, or `*` for anything present."""

_SIDE = r"[^\x00-\x20\x7f*]*[^\x00-\x20\x7f*/]"
REQUEST_PRINCIPAL = Text(
    "`*` or `issuer/subject`, where `*` may stand at the start or the end of each",
    rf"\*|(?:\*|\*?{_SIDE}|{_SIDE}\*)/(?:\*|\*?[^\x00-\x20\x7f*/]+|[^\x00-\x20\x7f*/]+\*)",
    MAX_TEXT,
    code=Code.NOT_A_VALUE,
)


_JWKS_URI = r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[!-~]*)?"


@dataclass(frozen=True, slots=True)
class UriParts:
    """Where a `jwksUri` leads."""

    is_tls: bool
    host: str
    """Without the brackets of an IPv6 address."""
    port: int


def uri_parts(uri: str) -> UriParts:
    """The parts of an http or https URI that `JwksUri` has let pass."""
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    return UriParts(scheme == "https", host.strip("[]"), int(port or (443 if scheme == "https" else 80)))


@dataclass(frozen=True, slots=True)
class JwksUri(ScalarKind[str]):
    """An http or https URI."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a URI such as https://idp.example.com/keys"

    def parse(self, text: str) -> str:
        """The URI; raises ValueRefusedError."""
        if len(text) > MAX_TEXT or re.fullmatch(_JWKS_URI, text) is None:
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}")
        if not 1 <= uri_parts(text).port <= MAX_PORT:
            raise ValueRefusedError(f"{quoted(text)} has an impossible port", code=Code.BAD_PORT)
        return text

    def schema(self) -> Json:
        """Its form."""
        return {"type": "string", "pattern": f"^{_JWKS_URI}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`http://` or `https://` URI"


@dataclass(frozen=True, slots=True)
class IpBlock(ScalarKind[str]):
    """An IP address or a range in CIDR notation; the value always has a prefix length."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "an IP address or a range such as 10.0.0.0/8"

    def parse(self, text: str) -> str:
        """`10.1.2.3` → `10.1.2.3/32`; raises ValueRefusedError."""
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            pass
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}", code=Code.BAD_ADDRESS) from None
        message = f"{quoted(text)} has bits behind its prefix"
        raise ValueRefusedError(message, f"the range is {network}", Code.BAD_ADDRESS)

    def schema(self) -> Json:
        """Its outer form."""
        return {"type": "string", "pattern": "^[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "IP address or CIDR range"


MODEL_KEY = "request.model"
"""Ours: the model that the body asks for, as the client writes it."""

PLAIN_KEYS = (
    "source.ip",
    "remote.ip",
    "source.principal",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
    MODEL_KEY,
)
"""Conditions without a name in brackets."""

_KEY = re.compile(r"(request\.headers|request\.auth\.claims)((?:\[[^\[\]]+\])+)")
_SCHEMA_KEY = (
    "|".join(re.escape(key) for key in PLAIN_KEYS)
    + r"|request\.headers\[[^\[\]]+\]|request\.auth\.claims(?:\[[^\[\]]+\])+"
)
_UNSUPPORTED_KEYS = ("source.namespace", "source.serviceAccount", "experimental.envoy.filters.")


@dataclass(frozen=True, slots=True)
class ConditionKey(ScalarKind[str]):
    """What a condition looks at."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "the key of a condition such as request.headers[x-tier]"

    def parse(self, text: str) -> str:
        """The key; raises ValueRefusedError."""
        if text in PLAIN_KEYS:
            return text
        if text.startswith(_UNSUPPORTED_KEYS):
            raise ValueRefusedError(f"{quoted(text)} is not supported", "it belongs to Istio's mesh", Code.UNSUPPORTED)
        found = _KEY.fullmatch(text)
        if found is None or len(text) > MAX_KEY:
            hint = f"possible: {', '.join(PLAIN_KEYS)}, request.headers[name], request.auth.claims[name]"
            raise ValueRefusedError(f"{quoted(text)} is no key of a condition", hint, Code.UNKNOWN_WORD)
        if found[1] == "request.headers":
            name = found[2][1:-1]
            if re.fullmatch(HEADER_PATTERN, name) is None:
                raise ValueRefusedError(f"{quoted(name)} is not the name of a header", code=Code.BAD_NAME)
            return f"request.headers[{name.lower()}]"
        return text

    def schema(self) -> Json:
        """The known ones."""
        return {"type": "string", "pattern": f"^(?:{_SCHEMA_KEY})$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return ", ".join(f"`{key}`" for key in (*PLAIN_KEYS, "request.headers[name]", "request.auth.claims[name]"))


def key_parts(key: str) -> tuple[str, tuple[str, ...]]:
    """`request.auth.claims[a][b]` → `request.auth.claims` and its names `a`, `b`; other keys have none."""
    head, bracket, rest = key.partition("[")
    return (head, tuple(rest[:-1].split("]["))) if bracket else (key, ())
