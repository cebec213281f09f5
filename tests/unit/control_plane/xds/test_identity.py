"""Who may claim a group. How a certificate becomes an identity is tested with the certificates."""

from collections.abc import Mapping

import pytest

from control_plane.xds.identity import Identity, allowed, identity_of

EDGE = Identity(("spiffe://corp/ns/edge/1",), "edge-gw")


@pytest.mark.parametrize(
    ("identity", "identities", "expected"),
    [
        (EDGE, (), True),
        (None, (), True),
        (None, ("*",), False),
        (Identity((), ""), ("*",), False),
        (Identity((), ""), ("",), False),
        (EDGE, ("spiffe://corp/ns/edge/1",), True),
        (EDGE, ("spiffe://corp/ns/edge/*",), True),
        (EDGE, ("spiffe://corp/ns/edge",), False),
        (EDGE, ("spiffe://corp/ns/other/*",), False),
        (EDGE, ("edge-gw",), True),
        (EDGE, ("edge-*",), True),
        (EDGE, ("edge",), False),
        (EDGE, ("other", "edge-gw"), True),
        (Identity((), "spiffe://corp/ns/edge/1"), ("spiffe://corp/ns/edge/1",), False),
        (Identity(("spiffe://corp/edge-gw",), ""), ("edge-gw",), False),
    ],
)
def test_allowed(identity: Identity | None, identities: tuple[str, ...], expected: bool) -> None:
    """SPIFFE ids are compared with URI names only, other texts with the common name only; nobody without a name."""
    assert allowed(identity, identities) is expected


class Context:
    """A call's context as grpc gives it."""

    def __init__(self, **properties: bytes) -> None:
        self.properties = {name: [value] for name, value in properties.items()}

    def auth_context(self) -> Mapping[str, list[bytes]]:
        """What the handshake found."""
        return self.properties


def test_plaintext_has_no_identity() -> None:
    """Also where something claims a name without TLS."""
    assert identity_of(Context()) is None
    assert identity_of(Context(transport_security_type=b"insecure", x509_common_name=b"edge-gw")) is None


def test_names_of_a_certificate() -> None:
    """URIs that are no SPIFFE ids count for nothing."""
    ssl = {"transport_security_type": b"ssl"}
    assert identity_of(Context(**ssl)) == Identity((), "")
    found = identity_of(Context(**ssl, peer_uri=b"https://x", x509_common_name=b"a"))
    assert found == Identity((), "a")
    assert str(found) == "a"
    assert str(Identity((), "")) == "no certificate"
