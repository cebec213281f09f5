"""The keys of a mapping node: texts, each once."""

from collections.abc import Iterator

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.nodes import Mapping, Node, Scalar
from control_plane.policy.reader import Reader


def unique_keys(reader: Reader, node: Mapping) -> Iterator[tuple[Scalar, Node]]:
    """The pairs whose key is a text that was not there before; the others are reported."""
    first: dict[str, Scalar] = {}
    for key, value in node.pairs:
        if not isinstance(key, Scalar):
            reader.report(key, Code.KEY_NOT_TEXT, "a list or a mapping cannot be a key", "quote it if a text is meant")
        elif key.plain and key.text == "<<":
            hint = "name the keys here, or use an alias (`key: *name`) for a whole value"
            reader.report(key, Code.MERGE_KEY, "merge keys (`<<`) are not supported", hint)
        elif key.text in first:
            hint = f"the first is in {reader.line_of(first[key.text])}"
            reader.report(key, Code.DUPLICATE_KEY, f"the key {quoted(key.text)} is there twice", hint)
        else:
            first[key.text] = key
            yield key, value
