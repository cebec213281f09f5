"""Names of receivers, looked up without threads."""

import socket

import pytest

from control_plane.fleet.records import Addresses, LookupFailedError, NoRecordsError, RecordType, Services
from control_plane.notices.names import NameResolver


class Names:
    """Answers from a table; a missing one is an error."""

    def __init__(self, known: dict[tuple[str, RecordType], tuple[str, ...]], error: Exception) -> None:
        self.known = known
        self.error = error

    async def addresses(self, host: str, family: RecordType) -> Addresses:
        """Of the table."""
        if (host, family) not in self.known:
            raise self.error
        return Addresses(self.known[host, family], 5.0)

    async def services(self, name: str) -> Services:
        """Never asked."""
        raise AssertionError


BOTH = {("h", RecordType.A): ("10.0.0.1", "10.0.0.2"), ("h", RecordType.AAAA): ("fd00::1",)}


async def test_both_families() -> None:
    """All addresses of both, or of the one that is asked for."""
    resolver = NameResolver(Names(BOTH, NoRecordsError("none")))
    found = await resolver.resolve("h", 443)
    assert [(one["host"], one["family"], one["port"]) for one in found] == [
        ("10.0.0.1", socket.AF_INET, 443),
        ("10.0.0.2", socket.AF_INET, 443),
        ("fd00::1", socket.AF_INET6, 443),
    ]
    assert [one["host"] for one in await resolver.resolve("h", 1, socket.AF_INET6)] == ["fd00::1"]
    await resolver.close()


async def test_one_family_is_enough() -> None:
    """A name without AAAA records is no failure."""
    resolver = NameResolver(Names({("h", RecordType.A): ("10.0.0.1",)}, NoRecordsError("none")))
    assert [one["host"] for one in await resolver.resolve("h")] == ["10.0.0.1"]


@pytest.mark.parametrize("error", [NoRecordsError("no such name"), LookupFailedError("no answer within 5 s")])
async def test_nobody_knows(error: Exception) -> None:
    """An OSError with the words, which is what aiohttp expects."""
    with pytest.raises(OSError, match=str(error)):
        await NameResolver(Names({}, error)).resolve("h")
