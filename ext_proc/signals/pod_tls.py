"""What a connection to a pod needs where its pool has TLS, or wants a token."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodTls:
    """`context` is None while the pool's certificates are missing: then nothing is sent. `server_name` is what is asked
    for in the handshake (SNI); empty for nothing."""

    context: ssl.SSLContext | None
    server_name: str = ""


PodTlsOf = Callable[[str], PodTls | None]
"""From the name of a pool to what its pods need; None for plain HTTP."""


def plaintext(pool: str) -> PodTls | None:
    """No pool has TLS."""
    return None


PodTokenOf = Callable[[str], str | None]
"""From the name of a pool to the bearer token of its pods; empty for none, None while its file is missing."""


def no_token(pool: str) -> str | None:
    """No pool wants a token."""
    return ""
