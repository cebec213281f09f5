"""Refuses what would take away too much at once: the share of pools or endpoints that a change removes. Pure.

    >>> refusal(Inventory(pools=..., endpoints=...), after, max_removed_percent=50)
    '7 of 10 endpoints would be removed (more than 50 %): …'

An empty selector, a file that was truncated, or a resolver that answers nothing looks like an order to delete
everything; a person who means it can say so.
"""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass

MIN_REMOVED = 3
"""Removals that are never too many: of two endpoints one is half, and a rollout of engines takes them one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What there is, by identity: names of pools, and endpoints or sources of endpoints with their pools."""

    pools: frozenset[str]
    endpoints: frozenset[tuple[str, str]]


def inventory(endpoints: Mapping[str, Iterable[str]]) -> Inventory:
    """What there is, from each pool's addresses (or names, or files)."""
    pairs = ((pool, address) for pool, addresses in endpoints.items() for address in addresses)
    return Inventory(pools=frozenset(endpoints), endpoints=frozenset(pairs))


def refusal(old: Inventory, new: Inventory, max_removed_percent: int) -> str:
    """Why going from `old` to `new` is refused; empty if it is not."""
    if max_removed_percent >= 100:
        return ""
    found = (
        _too_many("pools", old.pools, old.pools - new.pools, max_removed_percent),
        _too_many("endpoints", old.endpoints, old.endpoints - new.endpoints, max_removed_percent),
        "all endpoints would be removed" if old.endpoints and not new.endpoints else "",
    )
    return next((text for text in found if text), "")


def _too_many(noun: str, all_of: Sized, removed: Sized, percent: int) -> str:
    if len(removed) < MIN_REMOVED or len(removed) * 100 <= percent * len(all_of):
        return ""
    return f"{len(removed)} of {len(all_of)} {noun} would be removed, more than {percent} %"
