"""Whether an engine's process is another one than at the last look: its counters began anew.

Prometheus counters only grow while a process lives (its documentation, "Metric types"). An engine that listens on a
kept address again within a scrape interval, or that crashed inside a pod whose front end lived on, shows no other sign.

Two scrapes in a row have to say so: a page on which one of several ranks is missing for once has a smaller sum, too,
and is no reason to forget what they all hold.
"""

from ext_proc.core.events import Scraped


class Restarts:
    """Mutable: the last counters by slot, and whether they were lower at the last look; `is_new` and `reset` are the
    writers."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[float, tuple[int | None, ...], bool]] = {}

    def is_new(self, slot: int, event: Scraped) -> bool:
        """Whether a scrape is of a new process. One that was overtaken by a later one says nothing."""
        if event.prompt_tokens is None and event.generation_tokens is None:
            return False
        before = self._counted.get(slot)
        if before is not None and event.at < before[0]:
            return False
        told = (event.prompt_tokens, event.generation_tokens)
        last, was_lower = ((None, None), False) if before is None else before[1:]
        is_lower = any(new is not None and old is not None and new < old for new, old in zip(told, last, strict=True))
        if is_lower and not was_lower:
            self._counted[slot] = event.at, last, True
            return False
        # A family that is missing from one page keeps its last value.
        merged = tuple(old if new is None else new for new, old in zip(told, last, strict=True))
        self._counted[slot] = event.at, merged, False
        return is_lower

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._counted.pop(slot, None)
