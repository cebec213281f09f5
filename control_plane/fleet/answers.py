"""What answers of the domain name system mean for a pool. Pure: the decisions of `dns.py`.

An answer is used for its time to live, within bounds, and a random part more: a thousand kvpilots that started
together do not ask together. A family (A or AAAA) whose look-up failed keeps its last addresses while the other one
answers; "there are none" is believed only of one family, never of both: then nothing was found, which is a failure.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.fleet.records import Addresses, RecordType, Service
from control_plane.policy.addresses import EndpointAddress
from control_plane.policy.kinds import ValueRefusedError

MIN_TTL_S = 1.0
"""Shortest time between two questions for one name: registries such as Consul send 0, which means "do not cache"."""

MAX_TTL_S = 300.0
"""Longest: a time to live of a day is about web sites that move; a pod that is gone must not stay for a day."""

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
"""Back-off after failures: doubling from the first to the last, which a name server that is down can bear for ever."""

SPREAD = 0.1
"""The random part of each wait. Only ever longer: a cache that is asked too early answers with its last second."""

MAX_SRV_RECORDS = 1_000
"""Records of one service: each is one or two more questions. A registry with more pods than that has an API."""


@dataclass(frozen=True, slots=True)
class NoRecords:
    """There are none; `reason` says how that is known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It is not known."""

    reason: str


Answer = Addresses | NoRecords | Failed
"""What came of one question for addresses."""


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The addresses of one host, by family, and how long they hold; `note` says which family could not be asked."""

    by_family: Mapping[RecordType, tuple[str, ...]]
    ttl_s: float
    note: str = ""


class NothingFoundError(Exception):
    """No address could be found; the text says why."""

    def __init__(self, message: str, is_certain: bool = False) -> None:
        """`is_certain`: there is none, and that is an answer, not a failure to get one."""
        super().__init__(message)
        self.is_certain = is_certain


def families(setting: str) -> tuple[RecordType, ...]:
    """What to ask for under a `dnsLookupFamily`."""
    one = {"V4_ONLY": (RecordType.A,), "V6_ONLY": (RecordType.AAAA,)}
    return one.get(setting, (RecordType.A, RecordType.AAAA))


def host_addresses(answers: Mapping[RecordType, Answer], last: Mapping[RecordType, tuple[str, ...]]) -> HostAddresses:
    """The addresses of a host from the answers to one round of questions and from `last`, those of the round before.

    Raises NothingFoundError where no family was answered with addresses.
    """
    found: dict[RecordType, tuple[str, ...]] = {}
    ttls: list[float] = []
    reasons: list[str] = []
    for family, answer in answers.items():
        if isinstance(answer, Addresses):
            found[family] = answer.addresses
            ttls.append(answer.ttl_s)
        elif isinstance(answer, Failed):
            found[family] = last.get(family, ())
            ttls.append(FIRST_RETRY_S)
            reasons.append(f"{family.value}: {answer.reason}")
    if not any(isinstance(answer, Addresses) for answer in answers.values()):
        raise _nothing(answers)
    return HostAddresses(found, min(ttls), "; ".join(reasons))


def _nothing(answers: Mapping[RecordType, Answer]) -> NothingFoundError:
    failed = [f"{family.value}: {answer.reason}" for family, answer in answers.items() if isinstance(answer, Failed)]
    if failed:
        return NothingFoundError("; ".join(failed))
    reasons = dict.fromkeys(answer.reason for answer in answers.values() if isinstance(answer, NoRecords))
    return NothingFoundError("; ".join(reasons), is_certain=True)


def chosen(host: HostAddresses, setting: str) -> tuple[str, ...]:
    """The addresses that count under a `dnsLookupFamily`."""
    v4 = host.by_family.get(RecordType.A, ())
    v6 = host.by_family.get(RecordType.AAAA, ())
    return v4 or v6 if setting == "V4_PREFERRED" else (*v4, *v6)


def endpoint_address(address: str, port: int) -> str | None:
    """`ip:port` in Envoy's text; None for an address that is nobody's, which blocking name servers answer with."""
    try:
        return EndpointAddress().parse(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    except ValueRefusedError:
        return None


def by_priority(services: Iterable[Service]) -> list[list[Service]]:
    """The records in the order in which they are to be tried (RFC 2782: lower numbers first), `.` left out."""
    groups: dict[int, list[Service]] = {}
    for service in sorted(set(services)):
        if service.target != ".":
            groups.setdefault(service.priority, []).append(service)
    return [groups[priority] for priority in sorted(groups)]


def record_weights(group: Sequence[Service]) -> list[int | None]:
    """The endpoint's weight for each record; None, the item's own, where no record has a weight.

    A 0 beside other weights is "very small" (RFC 2782): 1, the least that Envoy takes.
    """
    if not any(service.weight for service in group):
        return [None] * len(group)
    return [max(service.weight, 1) for service in group]


def refresh_in(ttl_s: float, rng: random.Random) -> float:
    """Seconds until an answer is asked for again."""
    return min(max(ttl_s, MIN_TTL_S), MAX_TTL_S) * (1 + SPREAD * rng.random())


def retry_in(failures: int, rng: random.Random) -> float:
    """Seconds until the next try after `failures` (from 1) in a row."""
    doubled = FIRST_RETRY_S * 2 ** min(failures - 1, 30)
    return float(min(doubled, MAX_RETRY_S) * (1 + SPREAD * rng.random()))
