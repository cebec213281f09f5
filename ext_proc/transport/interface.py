"""What a transport serves, without gRPC in it: bytes of one stream in, bytes out.

Any HTTP/2 server that speaks gRPC's framing can carry these; `ext_proc.transport.grpcio` is the reference.
"""

import asyncio
from typing import Protocol


class StreamHandler(Protocol):
    """One ext_proc stream."""

    @property
    def is_answered(self) -> bool:
        """Whether Envoy has what it needs for the request, so that the server may close the stream with status OK."""

    @property
    def later(self) -> "asyncio.Future[list[bytes]] | None":
        """The answers of a request that has to wait, once they are there; None where it never had to. When they have
        been sent, there may be another one, for a request that waits on."""

    def feed(self, data: bytes) -> list[bytes]:
        """The answers to one message; raises `ext_proc.core.exchange.ExchangeError` to end the stream in error."""

    def ended(self, *, by_us: bool) -> None:
        """The stream is over, however it ended; must be called, and may be called again without effect."""


class ExchangeHandler(Protocol):
    """All ext_proc streams."""

    def open(self) -> StreamHandler:
        """A new stream has come."""


class LogHandler(Protocol):
    """All access log streams."""

    @property
    def answer(self) -> bytes:
        """The single response of such a stream."""

    def feed(self, data: bytes) -> None:
        """Takes one message; never raises."""


class BindError(OSError):
    """An address cannot be listened on; the text says which and why."""


class AddressInUseError(BindError):
    """Somebody else listens there."""
