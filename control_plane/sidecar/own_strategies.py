"""The users' own strategies: entry points of the group `kvpilot.strategies` in the Python that runs kvpilot.

    [project.entry-points."kvpilot.strategies"]
    "acme.cheapest" = "acme_routing:Cheapest"

An entry point is called with the mapping that the policy has under `picker.parameters`, and gives a strategy
(`ext_proc.core.strategies.view`). Nothing is imported before a policy names it, and what an import raises is the
policy's finding, not the end of kvpilot. Nor is anything of the picker itself, which takes numpy along.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ext_proc.core.strategies.table import Maker

GROUP = "kvpilot.strategies"


class InstalledStrategies:
    """Those of this Python, looked up when they are asked for. Immutable."""

    def names(self) -> Sequence[str]:
        """All of them, sorted; a name without a dot could be one of ours some day, and is left out."""
        return sorted(_installed())

    def problem(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Why the one of that name cannot be made with these parameters; empty if it can."""
        try:
            made: object = maker(name)(parameters)
        except _NotInstalledError as error:
            return str(error)
        except (Exception, SystemExit) as error:
            # Whatever somebody else's code raises, it is about this strategy; its `sys.exit` must not end kvpilot.
            return f"{type(error).__name__}: {error}"
        from ext_proc.core.strategies.view import Strategy

        if not isinstance(made, Strategy):
            return "it has no `needs_prompt` and `rank`"
        return ""


class _NotInstalledError(LookupError):
    """No entry point has that name."""


def maker(name: str) -> "Maker":
    """The class or function that the entry point leads to; raises LookupError, or what its import does."""
    found = _installed().get(name)
    if found is None:
        raise _NotInstalledError("it is not installed")
    loaded: Maker = found.load()
    return loaded


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Installed packages do not change while a program runs, and looking at all of them takes some milliseconds."""
    return {point.name: point for point in entry_points(group=GROUP) if "." in point.name}
