"""Host names and SRV records as sources of endpoints: asked again when the time to live is over.

What an answer means is decided in `answers.py`, who is asked is in `resolver.py`; here are the questions and the waits.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from control_plane.fleet.answers import (
    FIRST_RETRY_S,
    MAX_SRV_RECORDS,
    Answer,
    Failed,
    HostAddresses,
    NoRecords,
    NothingFoundError,
    by_priority,
    chosen,
    endpoint_address,
    families,
    host_addresses,
    record_weights,
    refresh_in,
    retry_in,
)
from control_plane.fleet.interface import Report, Sleep
from control_plane.fleet.records import (
    Addresses,
    LookupFailedError,
    NoRecordsError,
    RecordType,
    Service,
)
from control_plane.fleet.resolver import Resolver
from control_plane.fleet.targets import Target
from control_plane.policy.discovery import DnsEndpoints, SrvEndpoints

CONCURRENT_QUESTIONS = 16
"""Questions of one SRV source at a time: enough to be done with a hundred targets in a blink, and no flood."""

_Item = TypeVar("_Item", DnsEndpoints, SrvEndpoints)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of questions found."""

    targets: tuple[Target, ...]
    ttl_s: float
    note: str


@dataclass(slots=True)
class Hosts:
    """Looks hosts up. Mutable: the last addresses by host and family, written by `addresses` and `forget`."""

    resolver: Resolver
    family: str
    """The item's `dnsLookupFamily`."""
    _last: dict[str, Mapping[RecordType, tuple[str, ...]]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_QUESTIONS))

    async def addresses(self, host: str) -> HostAddresses:
        """The addresses of all wanted families; raises NothingFoundError."""
        wanted = families(self.family)
        answers = await asyncio.gather(*(self._answer(host, family) for family in wanted))
        found = host_addresses(dict(zip(wanted, answers, strict=True)), self._last.get(host, {}))
        self._last[host] = found.by_family
        return found

    async def addresses_or_last(self, host: str) -> HostAddresses | str:
        """The same, with the last ones where nobody could say; else why there are none."""
        try:
            return await self.addresses(host)
        except NothingFoundError as error:
            last = self._last.get(host)
            return str(error) if error.is_certain or last is None else HostAddresses(last, FIRST_RETRY_S, str(error))

    def forget(self, but: set[str]) -> None:
        """Drops what is known of hosts that no record names any more."""
        self._last = {host: known for host, known in self._last.items() if host in but}

    async def _answer(self, host: str, family: RecordType) -> Answer:
        async with self._turns:
            try:
                found = await self.resolver.addresses(host, family)
            except NoRecordsError as error:
                return NoRecords(str(error))
            except LookupFailedError as error:
                return Failed(str(error))
        usable = tuple(address for address in found.addresses if endpoint_address(address, 1) is not None)
        return Addresses(usable, found.ttl_s) if usable else NoRecords(f"only {', '.join(found.addresses)}")


class _AskedSource(ABC, Generic[_Item]):
    """A source that is asked in rounds; subclasses say what one round is. Mutable: what `Hosts` keeps."""

    def __init__(self, item: _Item, resolver: Resolver, rng: random.Random, sleep: Sleep) -> None:
        """`rng` spreads the waits that `sleep` waits."""
        self._item: _Item = item
        self._resolver = resolver
        self._hosts = Hosts(resolver, item.dns_lookup_family)
        self._rng = rng
        self._sleep = sleep

    async def follow(self, report: Report) -> None:
        """Reports until cancelled."""
        await follow_rounds(self._round, report, self._rng, self._sleep)

    @abstractmethod
    async def _round(self) -> Round:
        """One look-up of the item."""


class NameSource(_AskedSource[DnsEndpoints]):
    """The addresses of a host name."""

    async def _round(self) -> Round:
        host, port = self._item.dns.host, self._item.dns.port
        found = await self._hosts.addresses(host)
        targets = {_target(address, port, None) for address in chosen(found, self._item.dns_lookup_family)}
        return Round(tuple(sorted(targets, key=_by_address)), found.ttl_s, found.note)


class ServiceSource(_AskedSource[SrvEndpoints]):
    """The endpoints behind SRV records.

    Only one priority is used: the first of which any target resolves. Lower ones are stand-ins for it (RFC 2782), and a
    stand-in that got traffic beside it would be no stand-in.
    """

    async def _round(self) -> Round:
        found = await self._resolver.services(self._item.dns_srv)
        if len(found.services) > MAX_SRV_RECORDS:
            raise NothingFoundError(f"{len(found.services):,} records; at most {MAX_SRV_RECORDS:,} are used")
        groups = by_priority(found.services)
        self._hosts.forget(but={service.target for group in groups for service in group})
        reasons: list[str] = []
        for group in groups:
            targets, ttl_s, notes = await self._resolved(group)
            reasons += notes
            if targets:
                return Round(targets, min(ttl_s, found.ttl_s), "; ".join(reasons))
        raise NothingFoundError("; ".join(reasons) or "the service is said not to exist here (`.`)")

    async def _resolved(self, group: list[Service]) -> tuple[tuple[Target, ...], float, list[str]]:
        """Targets, the shortest time to live, and what could not be found out."""
        names = sorted({service.target for service in group})
        answers = dict(zip(names, await asyncio.gather(*map(self._hosts.addresses_or_last, names)), strict=True))
        targets: dict[str, Target] = {}
        for service, weight in zip(group, record_weights(group), strict=True):
            host = answers[service.target]
            if isinstance(host, HostAddresses):
                for address in chosen(host, self._item.dns_lookup_family):
                    target = _target(address, service.port, weight)
                    targets.setdefault(target.address, target)
        known = [host for host in answers.values() if isinstance(host, HostAddresses)]
        notes = [f"{name}: {text}" for name, host in answers.items() if (text := _note(host))]
        return (
            tuple(sorted(targets.values(), key=_by_address)),
            min((host.ttl_s for host in known), default=0.0),
            notes,
        )


async def follow_rounds(ask: Callable[[], Awaitable[Round]], report: Report, rng: random.Random, sleep: Sleep) -> None:
    """Asks for ever: again when an answer's time is over, and with longer and longer waits while there is none."""
    failures = 0
    while True:
        try:
            found = await ask()
        except (NothingFoundError, NoRecordsError, LookupFailedError) as error:
            failures += 1
            report.failed(str(error))
            await sleep(retry_in(failures, rng))
        else:
            failures = 0
            report.found(found.targets, found.note)
            await sleep(refresh_in(found.ttl_s, rng))


def _note(host: HostAddresses | str) -> str:
    return host if isinstance(host, str) else host.note


def _target(address: str, port: int, weight: int | None) -> Target:
    text = endpoint_address(address, port)
    assert text is not None, "such addresses are left out of the answers"
    return Target(address=text, weight=weight)


def _by_address(target: Target) -> str:
    return target.address
