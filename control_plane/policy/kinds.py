"""What a value of the policy can be. A kind reads a node, describes itself to people and editors, shows a default.

Scalars are read from their text alone (`scalars.py`), lists and mappings from their parts (`containers.py`), blocks
from their declaration (`blocks.py`).
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.nodes import Mapping, Node, Scalar, Sequence
from control_plane.policy.reader import Reader, RefusedError

if TYPE_CHECKING:
    from control_plane.policy.declare import Block

T = TypeVar("T")

Json = dict[str, Any]


class Kind(Generic[T]):
    """Base of all kinds; immutable."""

    unit_suffix: ClassVar[str] = ""
    """What the field's name has for its unit and the YAML key has not: `_s` of `idle_s`."""

    def read(self, reader: Reader, node: Node, path: str) -> T:
        """The value of `node`; raises RefusedError after the findings went to the reader."""
        raise NotImplementedError

    def schema(self) -> Json:
        """The JSON Schema of a value; blocks are referred to by `#/definitions/<class name>`."""
        raise NotImplementedError

    def describe(self) -> str:
        """What a value is, in Markdown, for a cell of the reference page."""
        raise NotImplementedError

    def plain(self, value: T) -> Any:
        """A value as it would stand in the file, in JSON's types."""
        return value

    def show(self, value: T) -> str:
        """A value as text of the file, for the reference page."""
        shown = self.plain(value)
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    def blocks(self) -> "Iterator[type[Block]]":
        """The blocks that occur in a value."""
        return iter(())


class ValueRefusedError(ValueError):
    """A text is no value of a kind: message for the operator, code and hint."""

    def __init__(self, message: str, hint: str = "", code: Code = Code.NOT_A_VALUE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class ScalarKind(Kind[T]):
    """A kind whose values are single texts; subclasses give `noun` and `parse`."""

    @property
    def noun(self) -> str:
        """What a value is called in messages: "a duration such as 5s"."""
        raise NotImplementedError

    def parse(self, text: str) -> T:
        """The value that `text` stands for; raises ValueRefusedError."""
        raise NotImplementedError

    def read(self, reader: Reader, node: Node, path: str) -> T:
        """The value of a scalar node, quoted or not: only the text counts."""
        text = scalar_text(reader, node, self.noun)
        try:
            return self.parse(text)
        except ValueRefusedError as refused:
            raise reader.refuse(node, refused.code, refused.message, refused.hint) from None


def scalar_text(reader: Reader, node: Node, noun: str) -> str:
    """The text of a scalar; raises RefusedError for lists, mappings and nothing at all."""
    if not isinstance(node, Scalar):
        raise reader.refuse(node, Code.WRONG_SHAPE, f"expected {noun}, found {node_noun(node)}")
    if node.is_nothing:
        hint = "remove the key for its default, or quote the text if it is meant"
        raise reader.refuse(node, Code.NO_VALUE, f"expected {noun}, found nothing", hint)
    return node.text


def node_noun(node: Node) -> str:
    """What a node is, for messages about the wrong one."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing" if isinstance(node, Scalar) and node.is_nothing else f"the text {quoted(_text(node))}"


def shape_error(reader: Reader, node: Node, noun: str, hint: str = "") -> RefusedError:
    """The error for a node that is not the list or mapping that is wanted."""
    code = Code.NO_VALUE if isinstance(node, Scalar) and node.is_nothing else Code.WRONG_SHAPE
    return reader.refuse(node, code, f"expected {noun}, found {node_noun(node)}", hint)


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""
