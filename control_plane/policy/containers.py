"""Kinds of several values: lists and mappings, and a value that may also be one special word."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.declare import Block
from control_plane.policy.diagnostics import quoted
from control_plane.policy.keys import unique_keys
from control_plane.policy.kinds import Json, Kind, ScalarKind, ValueRefusedError, scalar_text, shape_error
from control_plane.policy.nodes import Mapping, Node, Scalar, Sequence
from control_plane.policy.reader import Items, Reader, RefusedError
from control_plane.policy.scalars import Text, singular

T = TypeVar("T")
_BlockT = TypeVar("_BlockT", bound=Block)


@dataclass(frozen=True, slots=True)
class ListOf(Kind[tuple[T, ...]]):
    """A list of values of one kind; the value is a tuple."""

    item: Kind[T]
    minimum: int = 0
    maximum: int = 100_000

    def read(self, reader: Reader, node: Node, path: str) -> tuple[T, ...]:
        """All items; every bad one is reported."""
        if not isinstance(node, Sequence):
            raise _no_list(reader, node)
        check_count(reader, node, len(node.items), self.minimum, self.maximum)
        values: list[tuple[str, T]] = []
        for index, item in enumerate(node.items):
            item_path = f"{path}[{index}]"
            reader.mark(item_path, item)
            try:
                values.append((item_path, self.item.read(reader, item, item_path)))
            except RefusedError:
                continue
        is_complete = len(values) == len(node.items)
        reader.lists.append(Items(path, tuple(values), is_complete))
        if not is_complete:
            raise RefusedError
        return tuple(value for _, value in values)

    def schema(self) -> Json:
        """An array."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.minimum}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        least = f", at least {self.minimum}" if self.minimum else ""
        return f"list{least}: {self.item.describe()}"

    def plain(self, value: tuple[T, ...]) -> list[Any]:
        """A list of the items."""
        return [self.item.plain(item) for item in value]

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the items."""
        return self.item.blocks()


@dataclass(frozen=True, slots=True)
class MapOf(Kind[dict[str, T]]):
    """A mapping from free keys to values of one kind, such as labels."""

    key: Text
    value: Kind[T]
    maximum: int

    def read(self, reader: Reader, node: Node, path: str) -> dict[str, T]:
        """All pairs; every bad one is reported."""
        if not isinstance(node, Mapping):
            raise shape_error(reader, node, "a mapping")
        check_count(reader, node, len(node.pairs), 0, self.maximum)
        values: dict[str, T] = {}
        for key_node, value_node in unique_keys(reader, node):
            reader.mark(f"{path}.{key_node.text.lower() if self.key.is_lower_cased else key_node.text}", value_node)
            try:
                key = self.key.read(reader, key_node, path)
                if key in values:  # written in two ways, where case does not count
                    raise reader.refuse(key_node, Code.DUPLICATE_KEY, f"the key {quoted(key)} is there twice")
                values[key] = self.value.read(reader, value_node, f"{path}.{key}")
            except RefusedError:
                continue
        if len(values) < len(node.pairs):
            raise RefusedError
        return values

    def schema(self) -> Json:
        """An object with any keys that match."""
        return {
            "type": "object",
            "additionalProperties": self.value.schema(),
            "propertyNames": name_schema(self.key),
            "maxProperties": self.maximum,
        }

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"mapping: {self.key.describe()} → {self.value.describe()}"

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the values."""
        return self.value.blocks()


@dataclass(frozen=True, slots=True)
class NamedMap(Kind[tuple[_BlockT, ...]]):
    """A mapping from names to blocks, such as `pools`: each block's field `name` is its key. The value is a tuple."""

    what: str
    """The key of this mapping, by which `NameOf` refers to it."""
    name: Text
    value: BlockOf[_BlockT]
    minimum: int = 0

    def read(self, reader: Reader, node: Node, path: str) -> tuple[_BlockT, ...]:
        """All blocks; every bad one is reported, and all names count as defined."""
        if not isinstance(node, Mapping):
            raise shape_error(reader, node, "a mapping")
        check_count(reader, node, len(node.pairs), self.minimum, None)
        values: list[_BlockT] = []
        for key_node, value_node in unique_keys(reader, node):
            item_path = f"{path}.{key_node.text}"
            reader.mark(item_path, key_node)
            reader.define(self.what, key_node.text, key_node)
            try:
                name = self.name.read(reader, key_node, path)
            except RefusedError:
                name = None
            try:
                block = self.value.read_named(reader, value_node, item_path, name)
            except RefusedError:
                continue
            if name is not None:
                values.append(block)
        if len(values) < len(node.pairs):
            raise RefusedError
        return tuple(values)

    def schema(self) -> Json:
        """An object with names as keys."""
        return {
            "type": "object",
            "additionalProperties": self.value.schema(),
            "propertyNames": name_schema(self.name),
            "minProperties": self.minimum,
        }

    def describe(self) -> str:
        """What a value is, for the reference page."""
        least = f", at least {self.minimum}" if self.minimum else ""
        return f"mapping{least}: {self.name.describe()} → {self.value.describe()}"

    def plain(self, value: tuple[_BlockT, ...]) -> dict[str, Any]:
        """Only ever empty: no policy has a default pool of its own."""
        return {}

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the values."""
        return self.value.blocks()


@dataclass(frozen=True, slots=True)
class NamedList(Kind[tuple[_BlockT, ...]]):
    """A list of blocks that have a `name`, such as `models`; paths below have the name in place of the position."""

    what: str
    """The key of this list, by which `NameOf` refers to it."""
    item: BlockOf[_BlockT]
    minimum: int = 0
    maximum: int | None = None

    def read(self, reader: Reader, node: Node, path: str) -> tuple[_BlockT, ...]:
        """All blocks; every bad one is reported, and all names count as defined."""
        if not isinstance(node, Sequence):
            raise _no_list(reader, node)
        check_count(reader, node, len(node.items), self.minimum, self.maximum)
        values: list[_BlockT] = []
        for index, item in enumerate(node.items):
            item_path = self._item_path(reader, item, path, index)
            reader.mark(item_path, item)
            try:
                values.append(self.item.read(reader, item, item_path))
            except RefusedError:
                continue
        if len(values) < len(node.items):
            raise RefusedError
        return tuple(values)

    def _item_path(self, reader: Reader, item: Node, path: str, index: int) -> str:
        name = _name_of(item)
        if name is None:
            return f"{path}[{index}]"
        if not reader.define(self.what, name.text, name):
            first = reader.defined[self.what][name.text]
            message = f"a second {singular(self.what)} is named {quoted(name.text)}"
            reader.report(name, Code.DUPLICATE_NAME, message, f"the first is in {reader.line_of(first)}")
            return f"{path}[{index}]"
        return f"{path}.{name.text}"

    def schema(self) -> Json:
        """An array."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.minimum}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        least = f", at least {self.minimum}" if self.minimum else ""
        return f"list{least}: {self.item.describe()}"

    def plain(self, value: tuple[_BlockT, ...]) -> list[Any]:
        """Only ever empty: no policy has a default model of its own."""
        return []

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the items."""
        return self.item.blocks()


@dataclass(frozen=True, slots=True)
class OrWord(Kind[T | None]):
    """A value of a kind, or one word for its absence: `firstByte: auto`, `outlierDetection: off`. The word is None."""

    kind: Kind[T]
    word: str
    means: str
    """What the word does, for the reference page."""

    def read(self, reader: Reader, node: Node, path: str) -> T | None:
        """None for the word, else the value."""
        if isinstance(node, Scalar) and node.text == self.word:
            return None
        if isinstance(self.kind, ScalarKind):
            return self._scalar(reader, node, self.kind)
        if isinstance(node, Scalar) and not node.is_nothing:
            raise shape_error(reader, node, f"`{self.word}` or a mapping")
        return self.kind.read(reader, node, path)

    def _scalar(self, reader: Reader, node: Node, kind: ScalarKind[T]) -> T:
        text = scalar_text(reader, node, f"`{self.word}` or {kind.noun}")
        try:
            return kind.parse(text)
        except ValueRefusedError as refused:
            hint = "; ".join(part for part in (refused.hint, f"`{self.word}` is possible, too") if part)
            raise reader.refuse(node, refused.code, refused.message, hint) from None

    @property
    def unit_suffix(self) -> str:  # type: ignore[override]
        """That of the value."""
        return self.kind.unit_suffix

    def schema(self) -> Json:
        """The word or a value."""
        return {"anyOf": [{"const": self.word}, self.kind.schema()]}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"`{self.word}` ({self.means}) or {self.kind.describe()}"

    def plain(self, value: T | None) -> Any:
        """The word for None."""
        return self.word if value is None else self.kind.plain(value)

    def blocks(self) -> Iterator[type[Block]]:
        """The blocks of the value."""
        return self.kind.blocks()


def _no_list(reader: Reader, node: Node) -> RefusedError:
    """The error for what should be a list, with the way to write one."""
    if isinstance(node, Mapping):
        return shape_error(reader, node, "a list", "begin each item with `- `")
    is_text = isinstance(node, Scalar) and not node.is_nothing
    return shape_error(reader, node, "a list", "write one item as [item]" if is_text else "")


def check_count(reader: Reader, node: Node, count: int, minimum: int, maximum: int | None) -> None:
    """Reports too few or too many items."""
    if count < minimum:
        reader.report(node, Code.ITEM_COUNT, f"at least {minimum} wanted, found {count}")
    if maximum is not None and count > maximum:
        reader.report(node, Code.ITEM_COUNT, f"at most {maximum:,} possible, found {count:,}")


def name_schema(name: Text) -> Json:
    """The schema of a key: `propertyNames` only ever sees strings."""
    return {key: value for key, value in name.schema().items() if key != "type"}


def _name_of(node: Node) -> Scalar | None:
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            if isinstance(key, Scalar) and key.text == "name" and isinstance(value, Scalar) and not value.is_nothing:
                return value
    return None
