"""A value or a list of alternatives: `region: {exact: a}` and `region: [{exact: a}, {prefix: b}]`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block
from control_plane.policy.kinds import Json, Kind
from control_plane.policy.nodes import Node, Sequence
from control_plane.policy.reader import Reader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OneOrMore(Kind[tuple[T, ...]]):
    """One value, or a list of at least one; the value is a tuple. The path of a single value is that of the key.

    An empty list is an error: it could mean "all" and "none".
    """

    item: Kind[T]
    maximum: int

    def read(self, reader: Reader, node: Node, path: str) -> tuple[T, ...]:
        """The alternatives; every bad one is reported."""
        if isinstance(node, Sequence):
            return self._several.read(reader, node, path)
        return (self.item.read(reader, node, path),)

    @property
    def _several(self) -> ListOf[T]:
        return ListOf(self.item, minimum=1, maximum=self.maximum)

    def schema(self) -> Json:
        """One, or an array of them."""
        return {"anyOf": [self.item.schema(), {**self._several.schema(), "maxItems": self.maximum}]}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"{self.item.describe()}, or a list of alternatives"

    def plain(self, value: tuple[T, ...]) -> Any:
        """Always the long form."""
        return [self.item.plain(item) for item in value]

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the items."""
        return self.item.blocks()
