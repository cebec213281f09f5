"""Who a client of the xDS port is, by the certificate that it proved to hold, and which groups that lets it claim.

Pure but for reading grpc's context, which is given. The rule for a group's `identities`: a text with a trailing `*` is
a prefix; a SPIFFE id is compared with the URI names of the certificate, any other text with its common name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SPIFFE = "spiffe://"
"""The scheme of SPIFFE ids (SPIFFE-ID standard, section 2)."""

_URI = "peer_uri"
_COMMON_NAME = "x509_common_name"
_TRANSPORT = "transport_security_type"


@dataclass(frozen=True, slots=True)
class Identity:
    """The names in a verified client certificate; a TLS client without a certificate has none of them."""

    spiffe: tuple[str, ...]
    common_name: str

    def __str__(self) -> str:
        return ", ".join((*self.spiffe, *((self.common_name,) if self.common_name else ()))) or "no certificate"


def identity_of(context: Any) -> Identity | None:
    """The identity of the peer of a grpc call (`grpc.ServicerContext` or its aio twin); None on plaintext.

    grpc verified the certificate against `caCertificates` before the call began, so its names can be trusted.
    """
    found: Mapping[str, Iterable[bytes]] = context.auth_context()
    if _first(found, _TRANSPORT) != "ssl":
        return None
    uris = tuple(uri.decode("utf-8", "replace") for uri in found.get(_URI, ()))
    return Identity(tuple(uri for uri in uris if uri.startswith(SPIFFE)), _first(found, _COMMON_NAME))


def allowed(identity: Identity | None, identities: Iterable[str]) -> bool:
    """Whether a client may claim a group with these `identities`; a group without any is open to everybody.

    A client on plaintext has no identity and gets into open groups only.
    """
    patterns = tuple(identities)
    if not patterns:
        return True
    return identity is not None and any(_matches(identity, pattern) for pattern in patterns)


def _matches(identity: Identity, pattern: str) -> bool:
    names = identity.spiffe if pattern.startswith(SPIFFE) else (identity.common_name,)
    named = [name for name in names if name]
    if pattern.endswith("*"):
        return any(name.startswith(pattern[:-1]) for name in named)
    return pattern in named


def _first(found: Mapping[str, Iterable[bytes]], key: str) -> str:
    return next((value.decode("utf-8", "replace") for value in found.get(key, ())), "")
