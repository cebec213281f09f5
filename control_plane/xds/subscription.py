"""What one stream asks for of one type: the wildcard, names, or both. Pure values.

Source of every rule: "How the client specifies what resources to return" in Envoy's xDS protocol page.
"""

from collections.abc import Iterable
from dataclasses import dataclass

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Subscription:
    """Wanted: all resources (`wildcard`), `names`, or both.

    `explicit` is true once the client has named anything, `*` included: from then on naming nothing means nothing.
    """

    names: frozenset[str] = frozenset()
    wildcard: bool = False
    explicit: bool = False

    def replaced(self, names: Iterable[str], *, legacy_wildcard: bool) -> "Subscription":
        """After a state-of-the-world request, which always lists everything that is wanted.

        `legacy_wildcard`: whether a client that never named anything gets everything (clusters and listeners).
        """
        wanted = frozenset(names)
        if not (self.explicit or wanted):
            return Subscription(wildcard=legacy_wildcard)
        return Subscription(wanted - {WILDCARD}, WILDCARD in wanted, explicit=True)

    def updated(self, subscribe: Iterable[str], unsubscribe: Iterable[str], *, legacy_wildcard: bool) -> "Subscription":
        """After a delta request, which lists what is wanted from now on and what no longer.

        Unlike in state-of-the-world, naming a resource adds to a historical wildcard and does not end it.
        """
        more, less = frozenset(subscribe), frozenset(unsubscribe)
        if not (self.explicit or more or WILDCARD in less):
            return Subscription(wildcard=legacy_wildcard)
        wildcard = (self.wildcard or WILDCARD in more) and WILDCARD not in less
        return Subscription((self.names | more) - less - {WILDCARD}, wildcard, explicit=True)

    def is_empty(self) -> bool:
        """Whether nothing is wanted."""
        return not (self.wildcard or self.names)

    def wants(self, name: str) -> bool:
        """Whether a resource of this name is to be sent."""
        return self.wildcard or name in self.names
