"""Kinds of single values in tokens and rules."""

import pytest

from control_plane.policy.identity_kinds import (
    REQUEST_PRINCIPAL,
    ConditionKey,
    IpBlock,
    JwksUri,
    UriParts,
    key_parts,
    uri_parts,
)
from control_plane.policy.kinds import ScalarKind, ValueRefusedError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://idp.corp/keys", UriParts(True, "idp.corp", 443)),
        ("http://idp.corp", UriParts(False, "idp.corp", 80)),
        ("https://10.0.0.1:8443/", UriParts(True, "10.0.0.1", 8443)),
        ("http://[fd00::1]/x:1/y", UriParts(False, "fd00::1", 80)),
        ("http://[fd00::1]:81", UriParts(False, "fd00::1", 81)),
    ],
)
def test_uri_parts(text: str, expected: UriParts) -> None:
    """Where a URI leads, with the scheme's own port where it names none."""
    assert uri_parts(JwksUri().parse(text)) == expected


@pytest.mark.parametrize("text", ["idp.corp/keys", "https://", "https://a b/", "https://user@idp/", "https://x:y/"])
def test_bad_uris(text: str) -> None:
    """What is no http or https URI, or one with a password in it."""
    with pytest.raises(ValueRefusedError):
        JwksUri().parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.0.0.1", "10.0.0.1/32"), ("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128"), ("fd00::/8", "fd00::/8")],
)
def test_ip_blocks(text: str, expected: str) -> None:
    """An address is a range of one."""
    assert IpBlock().parse(text) == expected


def test_bits_behind_the_prefix() -> None:
    """A slip that Envoy would mask away in silence is told, with the range that is meant."""
    with pytest.raises(ValueRefusedError) as refused:
        IpBlock().parse("10.1.2.3/8")
    assert refused.value.hint == "the range is 10.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source.ip", ("source.ip", ())),
        ("request.headers[X-Tier]", ("request.headers", ("x-tier",))),
        ("request.auth.claims[a]", ("request.auth.claims", ("a",))),
        ("request.auth.claims[https://x/Role][b]", ("request.auth.claims", ("https://x/Role", "b"))),
    ],
)
def test_keys_of_conditions(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """Names of headers have no case, names of claims have."""
    assert key_parts(ConditionKey().parse(text)) == expected


@pytest.mark.parametrize("text", ["request.headers", "request.headers[a][b]", "request.auth.claims[]", "x[y]"])
def test_no_keys_of_conditions(text: str) -> None:
    """Brackets that are missing, empty or too many."""
    with pytest.raises(ValueRefusedError):
        ConditionKey().parse(text)


@pytest.mark.parametrize("text", ["*", "i/s", "https://idp/*", "*/s", "*.corp/s", "https://idp/al*", "https://idp*/s"])
def test_request_principals(text: str) -> None:
    """Issuer and subject, each with a `*` at one end."""
    assert REQUEST_PRINCIPAL.parse(text) == text


@pytest.mark.parametrize("text", ["", "bob", "https://idp*", "a//b", "a/*b*", "/b", "a/"])
def test_no_request_principals(text: str) -> None:
    """What would be split in another way than it is meant."""
    with pytest.raises(ValueRefusedError):
        REQUEST_PRINCIPAL.parse(text)


@pytest.mark.parametrize("kind", [JwksUri(), IpBlock(), ConditionKey()], ids=lambda kind: type(kind).__name__)
def test_kinds_say_what_they_are(kind: ScalarKind[str]) -> None:
    """For the reference page and for editors."""
    assert kind.describe()
    assert "pattern" in kind.schema()
