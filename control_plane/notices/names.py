"""How aiohttp gets the addresses of receivers: from the resolver of discovery, which needs no threads.

The system's own call blocks a thread for as long as a name server is dead, and the threads are those that compile
policies.
"""

import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from control_plane.fleet.records import LookupFailedError, NoRecordsError, RecordType
from control_plane.fleet.resolver import Resolver


class NameResolver(AbstractResolver):
    """Immutable."""

    def __init__(self, resolver: Resolver) -> None:
        """`resolver` answers."""
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name; raises OSError where there are none."""
        families = {socket.AF_INET: RecordType.A, socket.AF_INET6: RecordType.AAAA}
        asked = [one for one in families if family in (one, socket.AF_UNSPEC)]
        answers = await asyncio.gather(
            *(self._resolver.addresses(host, families[one]) for one in asked), return_exceptions=True
        )
        found: list[ResolveResult] = []
        why = "no such address"
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, NoRecordsError | LookupFailedError):
                why = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += [_result(host, address, port, one) for address in answer.addresses]
        if not found:
            raise OSError(None, f"{host}: {why}")
        return found

    async def close(self) -> None:
        """Nothing is open."""


def _result(host: str, address: str, port: int, family: socket.AddressFamily) -> ResolveResult:
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
