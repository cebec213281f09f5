"""Where Envoy finds kvpilot itself."""

from dataclasses import dataclass

from ext_proc.core.address import SocketAddress, UnixAddress


@dataclass(frozen=True, slots=True)
class Services:
    """`ext_proc` serves picks, access logs and gRPC health checks on one address."""

    ext_proc: SocketAddress | UnixAddress
