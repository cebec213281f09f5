"""Who may do what: tokens (`jwt`) and rules (`authorization`). The words are Istio's.

    jwt:
      - {name: corp, issuer: https://idp.corp, jwksUri: https://idp.corp/keys, required: true}
    authorization:
      - name: models
        action: ALLOW
        rules:
          - to: [{operation: {paths: [/v1/*]}}]
            when: [{key: "request.auth.claims[tier]", values: [premium]}]

Sources: Istio's `RequestAuthentication` and `AuthorizationPolicy`; Envoy's `jwt_authn` and `rbac` filters. Rules
between values are in `checks_security.py`.
"""

from typing import Literal

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.identity_kinds import (
    CLAIM,
    ISSUER,
    JWKS,
    MODEL_KEY,
    PATTERN,
    PROVIDER_NAME,
    REQUEST_PRINCIPAL,
    TEXT,
    TOKEN_HEADER,
    ConditionKey,
    IpBlock,
    JwksUri,
)
from control_plane.policy.names import HEADER_NAME, MAX_NAME
from control_plane.policy.scalars import Boolean, Choice, Integer, Text
from control_plane.policy.security import FILE
from control_plane.policy.units import Duration
from ext_proc.core.address import MAX_PORT

ALLOW = "ALLOW"
DENY = "DENY"


@block()
class JwtHeader(Block):
    """A header that may carry a token."""

    name: str = setting(TOKEN_HEADER, doc="The header.")
    prefix: str = setting(
        Text("the text before the token", "[ -~]*", 64, code=Code.NOT_A_VALUE),
        default="",
        doc="What stands before the token, such as `Bearer `.",
    )


@block()
class ClaimToHeader(Block):
    """A claim that the pod is told in a header."""

    header: str = setting(HEADER_NAME, doc="The header; what a client sends under this name is removed.")
    claim: str = setting(CLAIM, doc="The claim; `a.b` is claim `b` inside `a`.")


@block()
class JwtRule(Block):
    """An issuer whose tokens are taken; the words are those of `jwtRules` in Istio's RequestAuthentication.

    A token that is sent must be valid, whatever `required` says. Its claims are what `authorization` looks at.
    """

    name: str = setting(PROVIDER_NAME, doc="Its name.")
    issuer: str = setting(ISSUER, doc="The claim `iss` of its tokens.")
    audiences: tuple[str, ...] = setting(
        ListOf(TEXT), default=(), doc="A token must be for one of these (`aud`). Empty: for anybody."
    )
    jwks: str = setting(JWKS, default="", doc="Its public keys as JSON (RFC 7517). Exactly one of the three.")
    jwks_file: str = setting(FILE, default="", doc="A file with them; read again when it changes.")
    jwks_uri: str = setting(JwksUri(), default="", doc="Where Envoy fetches them, and again every `jwksRefresh`.")
    ca_certificates: str = setting(
        FILE,
        default="",
        doc="PEM file with the authorities that the server behind an https `jwksUri` must come from. Without it: those "
        "of the machine that kvpilot runs on.",
    )
    timeout_s: float = setting(Duration("1ms", "60s"), default=5.0, doc="How long one fetch from `jwksUri` may take.")
    jwks_refresh_s: float = setting(
        Duration("1s", "24h"), default=300.0, doc="How long keys from `jwksUri` are used before they are fetched again."
    )
    from_headers: tuple[JwtHeader, ...] = setting(
        ListOf(BlockOf(JwtHeader)), default=(), doc="Where the token is. Without any place: `Authorization: Bearer`."
    )
    from_params: tuple[str, ...] = setting(
        ListOf(Text("the name of a query parameter", r"[A-Za-z0-9._~-]+", MAX_NAME, code=Code.NOT_A_VALUE)),
        default=(),
        doc="Query parameters that may carry it.",
    )
    from_cookies: tuple[str, ...] = setting(
        ListOf(Text("the name of a cookie", r"[A-Za-z0-9._~-]+", MAX_NAME, code=Code.NOT_A_VALUE)),
        default=(),
        doc="Cookies that may carry it.",
    )
    forward_original_token: bool = setting(
        Boolean(), default=False, doc="Whether the pod gets the token, too; else it is taken off the request."
    )
    output_claim_to_headers: tuple[ClaimToHeader, ...] = setting(
        ListOf(BlockOf(ClaimToHeader)), default=(), doc="Claims that become headers, for routes and pods."
    )
    clock_skew_s: int = setting(
        Integer(1, 3600, "seconds"),
        key="clockSkewSeconds",
        default=60,
        doc="How far clocks may differ when `exp` and `nbf` are looked at.",
    )
    required: bool = setting(
        Boolean(),
        default=False,
        doc="Whether a request without a token is refused (401). With several such rules, a token of one is enough.",
    )


_PATTERNS = ListOf(PATTERN)
_REQUEST_PRINCIPALS = ListOf(REQUEST_PRINCIPAL)
_BLOCKS = ListOf(IpBlock())
_ACCOUNTS = {
    "namespaces": "Kubernetes namespaces; write `principals: [spiffe://…/ns/x/*]`",
    "notNamespaces": "Kubernetes namespaces; write `notPrincipals`",
    "serviceAccounts": "Kubernetes service accounts; write `principals`",
    "notServiceAccounts": "Kubernetes service accounts; write `notPrincipals`",
}


@block(planned=_ACCOUNTS)
class Source(Block):
    """Where a request comes from; all that is given must hold."""

    principals: tuple[str, ...] = setting(
        _PATTERNS, default=(), doc="Names in the client's certificate: a SPIFFE id, with or without `spiffe://`."
    )
    not_principals: tuple[str, ...] = setting(_PATTERNS, default=(), doc="None of these.")
    request_principals: tuple[str, ...] = setting(
        _REQUEST_PRINCIPALS, default=(), doc="Issuer and subject of its token: `iss/sub`. `*`: any valid token."
    )
    not_request_principals: tuple[str, ...] = setting(_REQUEST_PRINCIPALS, default=(), doc="None of these.")
    ip_blocks: tuple[str, ...] = setting(_BLOCKS, default=(), doc="The address of the connection itself.")
    not_ip_blocks: tuple[str, ...] = setting(_BLOCKS, default=(), doc="None of these.")
    remote_ip_blocks: tuple[str, ...] = setting(
        _BLOCKS,
        default=(),
        doc="The client's address as Envoy sees it; no proxy in front is trusted, so it is that of the connection.",
    )
    not_remote_ip_blocks: tuple[str, ...] = setting(_BLOCKS, default=(), doc="None of these.")


@block()
class Operation(Block):
    """What a request wants; all that is given must hold."""

    hosts: tuple[str, ...] = setting(_PATTERNS, default=(), doc="The host, in any case, with or without a port.")
    not_hosts: tuple[str, ...] = setting(_PATTERNS, default=(), doc="None of these.")
    ports: tuple[int, ...] = setting(ListOf(Integer(1, MAX_PORT)), default=(), doc="The listener's port.")
    not_ports: tuple[int, ...] = setting(ListOf(Integer(1, MAX_PORT)), default=(), doc="None of these.")
    methods: tuple[str, ...] = setting(_PATTERNS, default=(), doc="The method, in capitals.")
    not_methods: tuple[str, ...] = setting(_PATTERNS, default=(), doc="None of these.")
    paths: tuple[str, ...] = setting(_PATTERNS, default=(), doc="The path without its query.")
    not_paths: tuple[str, ...] = setting(_PATTERNS, default=(), doc="None of these.")


@block()
class From(Block):
    """An entry of `from`."""

    source: Source = setting(BlockOf(Source), doc="Where a request comes from.")


@block()
class To(Block):
    """An entry of `to`."""

    operation: Operation = setting(BlockOf(Operation), doc="What it wants.")


@block()
class Condition(Block):
    """One more thing that must hold."""

    key: str = setting(
        ConditionKey(),
        doc="What is looked at. `request.model` is the model that the body asks for, as the client writes it (name "
        "aliases, too), and only known for POSTs to inference paths: elsewhere nothing equals it.",
    )
    values: tuple[str, ...] = setting(
        _PATTERNS,
        default=(),
        doc="It must be one of these; a list, such as a claim with several values, must have one.",
    )
    not_values: tuple[str, ...] = setting(_PATTERNS, default=(), doc="It must be none of these.")


@block()
class AuthorizationRule(Block):
    """Requests that a policy is about: one of `from`, one of `to`, and all of `when`. Empty: every request."""

    from_: tuple[From, ...] = setting(ListOf(BlockOf(From)), default=(), doc="Where requests come from.")
    to: tuple[To, ...] = setting(ListOf(BlockOf(To)), default=(), doc="What they want.")
    when: tuple[Condition, ...] = setting(ListOf(BlockOf(Condition)), default=(), doc="What else must hold.")


@block(planned={"selector": "workloads; a policy here is its listener's", "targetRefs": "workloads"})
class AuthorizationPolicy(Block):
    """Who may do what; the words are those of Istio's AuthorizationPolicy.

    A request that a `DENY` policy matches is refused (403). Of the others, once there is an `ALLOW` policy, only those
    pass that one matches.
    """

    name: str = setting(PROVIDER_NAME, doc="Its name.")
    action: str = setting(
        Choice(
            (ALLOW, DENY),
            planned={
                "LOG": "the access log has every request",
                "AUDIT": "the access log has every request",
                "CUSTOM": "an authorization service",
            },
        ),
        default=ALLOW,
        doc="What happens to a request that matches.",
    )
    rules: tuple[AuthorizationRule, ...] = setting(
        ListOf(BlockOf(AuthorizationRule)),
        default=(),
        doc="Any of them is enough. None: nothing matches, so that an `ALLOW` policy without rules refuses all.",
    )


def needs_token(policies: tuple[AuthorizationPolicy, ...]) -> bool:
    """Whether any rule looks at a token."""
    return any(_looks_at(rule, "request.auth.", "request_principals") for policy in policies for rule in policy.rules)


def needs_certificate(policies: tuple[AuthorizationPolicy, ...]) -> bool:
    """Whether any rule looks at a client's certificate."""
    return any(_looks_at(rule, "source.principal", "principals") for policy in policies for rule in policy.rules)


def needs_model(policies: tuple[AuthorizationPolicy, ...]) -> bool:
    """Whether any rule looks at the body's model."""
    return any(item.key == MODEL_KEY for policy in policies for rule in policy.rules for item in rule.when)


def _looks_at(rule: AuthorizationRule, key: str, field: Literal["principals", "request_principals"]) -> bool:
    if any(condition.key.startswith(key) for condition in rule.when):
        return True
    return any(getattr(item.source, field) or getattr(item.source, f"not_{field}") for item in rule.from_)
