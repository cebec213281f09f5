"""Engines that say of themselves that they want nothing new: they are shutting down, or asleep. Pure.

    announcements = Announcements()
    announcements.apply(LoadReported(..., draining=True))    → Announced("10.0.0.1:8000", "draining")
    announcements.apply(LoadReported(..., draining=False))   → Announced("10.0.0.1:8000", "")

Who said that it is going does not come back by silence: its reports end before its streams do. It ends when the engine
says otherwise, when nobody had listened there and somebody does again (the next process), or when the endpoint leaves.
"""

from collections.abc import Set
from dataclasses import dataclass

from ext_proc.core.events import Event, LoadReported, Scraped, ScrapeFailed

DRAINING = "draining"
ASLEEP = "asleep"

# How a refused connection is worded by the operating system and by asyncio.
_REFUSED = ("refused", "connect call failed")


@dataclass(frozen=True, slots=True)
class Announced:
    """An endpoint's word, if it has changed; no `reason` means that it takes requests again."""

    address: str
    reason: str


class Announcements:
    """Mutable: who drains (and whether nobody listened there since) and who sleeps; `apply` and `keep` write."""

    def __init__(self) -> None:
        self._draining: dict[str, bool] = {}
        self._asleep: set[str] = set()

    def apply(self, event: Event) -> Announced | None:
        """Takes what an engine told; gives its word where that is another one now."""
        if not isinstance(event, Scraped | ScrapeFailed | LoadReported):
            return None
        before = self._reason(event.address)
        match event:
            case Scraped():
                if self._draining.get(event.address):
                    del self._draining[event.address]
                if event.is_asleep is not None:
                    (self._asleep.add if event.is_asleep else self._asleep.discard)(event.address)
            case ScrapeFailed():
                if event.address in self._draining and _is_refused(event.reason):
                    self._draining[event.address] = True
            case LoadReported(draining=True):
                self._draining[event.address] = False
            case LoadReported(draining=False):
                self._draining.pop(event.address, None)
            case _:
                pass
        reason = self._reason(event.address)
        return None if reason == before else Announced(event.address, reason)

    def keep(self, addresses: Set[str]) -> tuple[Announced, ...]:
        """Forgets all others; gives those whose word was another one."""
        gone = sorted((self._draining.keys() | self._asleep) - addresses)
        for address in gone:
            self._draining.pop(address, None)
            self._asleep.discard(address)
        return tuple(Announced(address, "") for address in gone)

    def standing(self) -> tuple[Announced, ...]:
        """Everybody's word, of those who want nothing new."""
        return tuple(Announced(each, self._reason(each)) for each in sorted(self._draining.keys() | self._asleep))

    def _reason(self, address: str) -> str:
        if address in self._draining:
            return DRAINING
        return ASLEEP if address in self._asleep else ""


def _is_refused(reason: str) -> bool:
    return any(words in reason.lower() for words in _REFUSED)
