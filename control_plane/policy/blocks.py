"""The kind of a block: a mapping with declared keys, read into its dataclass."""

from collections.abc import Iterator
from typing import Any, TypeVar

from control_plane.policy.codes import Code
from control_plane.policy.declare import Block, Setting, settings_of
from control_plane.policy.diagnostics import quoted
from control_plane.policy.keys import unique_keys
from control_plane.policy.kinds import Json, Kind, ScalarKind, ValueRefusedError, shape_error
from control_plane.policy.nodes import Mapping, Node, Scalar
from control_plane.policy.reader import Reader, RefusedError

_BlockT = TypeVar("_BlockT", bound=Block)

_Written = dict[str, tuple[Scalar, Node]]
"""Key → its node and that of its value."""

NOT_YET = "remove it, or wait for the version that has it"
"""What to do about a key that is not supported, unless its own words say what to write instead (behind a `; `)."""


class BlockOf(Kind[_BlockT]):
    """A mapping with the keys that the fields of `cls` declare."""

    def __init__(self, cls: type[_BlockT]) -> None:
        """Reads the declaration once; immutable from then on."""
        self.cls = cls
        declared = settings_of(cls)
        self.settings = tuple(setting for setting in declared if not setting.is_key)
        self._key_field = next((setting.field for setting in declared if setting.is_key), None)
        self._known = frozenset(key for setting in self.settings for key in _keys(setting))

    def read(self, reader: Reader, node: Node, path: str) -> _BlockT:
        """The block; everything wrong inside it is reported."""
        return self.read_named(reader, node, path, None)

    def read_named(self, reader: Reader, node: Node, path: str, name: str | None) -> _BlockT:
        """The same for a block that stands under its own name."""
        if not isinstance(node, Mapping):
            raise shape_error(reader, node, "a mapping", self._as_mapping(node) if isinstance(node, Scalar) else "")
        written = self._written(reader, node)
        values: dict[str, Any] = {} if self._key_field is None else {self._key_field: name}
        refused = not self._has_one(reader, node, written)
        for setting in self.settings:
            try:
                values[setting.field] = self._value(reader, setting, node, written, path)
            except RefusedError:
                refused = True
        if refused:
            raise RefusedError
        block = self.cls(**values)
        reader.built.append((path, block))
        return block

    def _as_mapping(self, node: Scalar) -> str:
        """How to write a mapping in place of a text: under the only required key, or the first one if it has texts."""
        if node.is_nothing:
            return "write {} for nothing but defaults"
        required = [setting for setting in self.settings if setting.required]
        candidates = required or list(self.settings[:1])
        if len(candidates) != 1 or not isinstance(candidates[0].kind, ScalarKind):
            return ""
        try:
            value = candidates[0].kind.parse(node.text)
        except ValueRefusedError:
            return ""
        return f"write {{{candidates[0].key}: {node.text}}}" if required or isinstance(value, str) else ""

    def _written(self, reader: Reader, node: Mapping) -> _Written:
        written: _Written = {}
        for key, value in unique_keys(reader, node):
            if key.text in self._known:
                written[key.text] = key, value
            elif key.text in self.cls.PLANNED:
                purpose, _, instead = self.cls.PLANNED[key.text].partition("; ")
                message = f"{quoted(key.text)} is not supported in this version ({purpose})"
                reader.report(key, Code.UNSUPPORTED, message, instead or NOT_YET)
            else:
                hint = reader.did_you_mean(key.text, self._known)
                reader.report(key, Code.UNKNOWN_KEY, f"unknown key {quoted(key.text)}", hint)
        return written

    def _has_one(self, reader: Reader, node: Mapping, written: _Written) -> bool:
        """Whether of the keys of which one must be there one is; more than one is reported, too."""
        possible = self.cls.ONE_OF
        found = [key for key in written if key in possible]
        if possible and not found:
            names = " or ".join(f"`{key}`" for key in possible)
            reader.report(node, Code.MISSING_KEY, f"{names} is missing", "exactly one of them")
            return False
        for key in found[1:]:
            message = f"`{found[0]}` and `{key}` exclude each other"
            reader.report(written[key][0], Code.EXCLUSIVE_KEYS, message, "keep one of them")
        return True

    def _value(self, reader: Reader, setting: Setting, node: Mapping, written: _Written, path: str) -> Any:
        field_path = f"{path}.{setting.key}" if path else setting.key
        found = written.get(setting.key)
        if setting.shorthand is not None and setting.shorthand.key in written:
            short = written[setting.shorthand.key]
            if found is None:
                return _expanded(reader, setting, short, path)
            if setting.key not in self.cls.ONE_OF:  # else it was told with the others
                later = max(short[0], found[0], key=lambda key: (key.line, key.column))
                message = f"`{setting.shorthand.key}` and `{setting.key}` say the same in two ways"
                reader.report(later, Code.EXCLUSIVE_KEYS, message, "keep one of them")
        if found is None:
            return self._absent(reader, setting, node)
        key, value = found
        reader.mark(field_path, value if isinstance(value, Scalar) else key)
        return setting.kind.read(reader, value, field_path)

    def _absent(self, reader: Reader, setting: Setting, node: Mapping) -> Any:
        if not setting.required:
            return setting.absent()
        stand_ins = self.cls.STAND_INS.get(setting.key, ())
        if any(isinstance(key, Scalar) and key.text in stand_ins for key, _ in node.pairs):
            raise RefusedError  # `destination` in place of `pool`: the error is there already
        names = " or ".join(f"`{key}`" for key in _keys(setting))
        raise reader.refuse(node, Code.MISSING_KEY, f"{names} is missing", f"{setting.key}: {setting.doc}")

    def schema(self) -> Json:
        """A reference to the block's definition."""
        return {"$ref": f"#/definitions/{self.cls.__name__}"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"[{self.cls.__name__}](#{self.cls.__name__.lower()})"

    def plain(self, value: _BlockT) -> Json:
        """Only ever asked of defaults, which are what an empty mapping gives."""
        return {}

    def blocks(self) -> Iterator[type[Block]]:
        """This block and those within it, each after what refers to it."""
        yield self.cls
        for setting in self.settings:
            yield from setting.kind.blocks()


def _keys(setting: Setting) -> tuple[str, ...]:
    return (setting.key,) if setting.shorthand is None else (setting.shorthand.key, setting.key)


def _expanded(reader: Reader, setting: Setting, short: tuple[Scalar, Node], path: str) -> Any:
    """The value from the short key; its parts are located there, too, under the names that the long form gives them."""
    assert setting.shorthand is not None, "asked for by the caller"
    _, value = short
    short_path = f"{path}.{setting.shorthand.key}"
    for place in (short_path, *(f"{path}.{setting.key}{part}" for part in ("", *setting.shorthand.parts))):
        reader.mark(place, value)
    return setting.shorthand.expand(setting.shorthand.kind.read(reader, value, short_path))
