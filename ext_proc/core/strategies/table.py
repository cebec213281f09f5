"""The strategies by the names that a policy uses."""

from types import MappingProxyType
from typing import Final

from ext_proc.core.strategies import kv_aware, least_request, queue_depth, round_robin
from ext_proc.core.strategies.view import Strategy

STRATEGIES: Final[MappingProxyType[str, Strategy]] = MappingProxyType(
    {
        "kv-aware": kv_aware,
        "round-robin": round_robin,
        "least-request": least_request,
        "queue-depth": queue_depth,
    }
)


def strategy(name: str) -> Strategy:
    """The strategy of that name; raises ValueError, naming those that exist."""
    found = STRATEGIES.get(name)
    if found is None:
        raise ValueError(f"unknown strategy {name!r}; there are {', '.join(STRATEGIES)}")
    return found
