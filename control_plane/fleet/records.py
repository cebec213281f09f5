"""Records of the domain name system as values. Pure: who asks for them is in `resolver.py`."""

from dataclasses import dataclass
from enum import Enum, unique


@unique
class RecordType(Enum):
    """The types of records that are asked for."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """One SRV record (RFC 2782); `target` is an absolute name in lower case, `.` for "no such service here"."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP literals of one family."""

    addresses: tuple[str, ...]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Services:
    """SRV records."""

    services: tuple[Service, ...]
    ttl_s: float


class NoRecordsError(Exception):
    """The name does not exist, or has no records of this type; the text says which."""


class LookupFailedError(Exception):
    """Nobody could say what records there are: no answer, or a name server's own failure."""
