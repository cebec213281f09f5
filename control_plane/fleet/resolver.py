"""Asks the domain name system, as the machine does: its name servers, search domains, `ndots`, hosts file.

The only place that knows dnspython. One question gives the records of one type with the time for which they may be kept
(the smallest time to live along the way, aliases included), or one of two errors: there are none (`NoRecordsError`), or
nobody could say (`LookupFailedError`). A truncated answer is asked for again over TCP.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from control_plane.fleet.records import Addresses, LookupFailedError, NoRecordsError, RecordType, Service, Services
from control_plane.policy.addresses import is_ip
from ext_proc.core.address import SocketAddress

LOOKUP_TIMEOUT_S = 5.0
"""The whole of one question, all name servers and tries together (the usual `timeout` of resolv.conf)."""

SERVER_TIMEOUT_S = 2.0
"""One try at one name server, so that a dead first one leaves time for the second."""

CONFIGURATION = Path("/etc/resolv.conf")
DNS_PORT = 53
HOSTS_FILE = Path("/etc/hosts")
HOSTS_TTL_S = 5.0
"""How long an entry of the hosts file is kept: it has no time to live, and reading it costs nothing."""

_LOCALHOST = ("127.0.0.1", "::1")
"""What `localhost` is without asking anybody (RFC 6761, section 6.3), unless the hosts file says otherwise."""


class Resolver(Protocol):
    """Who answers questions."""

    async def addresses(self, host: str, family: RecordType) -> Addresses:
        """The A or AAAA records of a name; raises NoRecordsError or LookupFailedError."""

    async def services(self, name: str) -> Services:
        """The SRV records of a name; raises NoRecordsError or LookupFailedError."""


class SystemResolver:
    """Asks as the machine is told to by `/etc/resolv.conf` and `/etc/hosts`, or one name server alone.

    Immutable: both files are read anew for each question, so a change of them needs no restart.
    """

    def __init__(
        self,
        server: SocketAddress | None = None,
        *,
        configuration: Path = CONFIGURATION,
        hosts: Path = HOSTS_FILE,
        port: int = DNS_PORT,
        timeout_s: float = LOOKUP_TIMEOUT_S,
    ) -> None:
        """With a `server` only that one is asked, names are taken as they are, and neither file counts.

        `port` is that of the name servers in `configuration`, which cannot say one.
        """
        self._server = server
        self._configuration = configuration
        self._hosts = hosts
        self._port = port
        self._timeout_s = timeout_s

    async def addresses(self, host: str, family: RecordType) -> Addresses:
        """The A or AAAA records of a name; raises NoRecordsError or LookupFailedError."""
        listed = self._listed(host)
        if listed:
            version = 4 if family is RecordType.A else 6
            found = tuple(address for address in listed if ipaddress.ip_address(address).version == version)
            if not found:
                raise NoRecordsError(f"no {family.value} records")
            return Addresses(found, HOSTS_TTL_S)
        answer = await self._ask(host, family)
        return Addresses(tuple(record.address for record in answer.rrset), _ttl(answer))

    async def services(self, name: str) -> Services:
        """The SRV records of a name; raises NoRecordsError or LookupFailedError."""
        answer = await self._ask(name, RecordType.SRV)
        services = (
            Service(record.priority, record.weight, record.port, record.target.to_text().lower())
            for record in answer.rrset
        )
        return Services(tuple(services), _ttl(answer))

    def _listed(self, host: str) -> tuple[str, ...]:
        if self._server is not None:
            return ()
        try:
            text = self._hosts.read_text(errors="replace")
        except OSError:
            text = ""
        found = tuple(hosts_entries(text, host))
        return found or (_LOCALHOST if host.removesuffix(".").split(".")[-1] == "localhost" else ())

    async def _ask(self, name: str, kind: RecordType) -> Any:
        try:
            resolver = self._resolver()
            return await resolver.resolve(dns.name.from_text(name, None), kind.value, search=True)
        except dns.resolver.NXDOMAIN:
            raise NoRecordsError("no such name") from None
        except dns.resolver.NoAnswer:
            raise NoRecordsError(f"no {kind.value} records") from None
        except dns.resolver.NoNameservers as error:
            raise LookupFailedError(_refusals(error)) from None
        except dns.resolver.LifetimeTimeout:
            raise LookupFailedError(f"no answer within {self._timeout_s:g} s") from None
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailedError(str(error) or type(error).__name__) from error

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Raises dns.resolver.NoResolverConfiguration."""
        resolver = dns.asyncresolver.Resolver(str(self._configuration), configure=self._server is None)
        resolver.port = self._port
        resolver.timeout, resolver.lifetime = min(SERVER_TIMEOUT_S, self._timeout_s), self._timeout_s
        if self._server is not None:
            resolver.nameservers, resolver.port = [self._server.host], self._server.port
            resolver.domain = dns.name.root
        return resolver


def hosts_entries(text: str, host: str) -> Iterator[str]:
    """The addresses that a hosts file (hosts(5)) gives a name, in its order; lines that cannot be read are skipped."""
    wanted = host.removesuffix(".").lower()
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if wanted in (name.lower() for name in names) and is_ip(address):
            yield str(ipaddress.ip_address(address))


def _ttl(answer: dns.resolver.Answer) -> float:
    return float(answer.chaining_result.minimum_ttl)


def _refusals(error: dns.resolver.NoNameservers) -> str:
    """What each name server said, once each: `SERVFAIL from 10.0.0.2:53`."""
    errors: list[Any] = error.kwargs.get("errors") or []
    said = dict.fromkeys(f"{problem} from {_server(str(server))}" for server, _, _, problem, *_ in errors)
    return "; ".join(said) or "no name server could be asked"


def _server(text: str) -> str:
    """dnspython's `Do53:10.0.0.2@53` in the usual form."""
    return text.rpartition("Do53:")[2].replace("@", ":")
