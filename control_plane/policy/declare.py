"""How a field of the policy is declared: once, in the dataclass that carries it.

    @block()
    class Timeouts(Block):
        "How long the parts of an answer may take."

        request_s: float = setting(Duration("1ms", "24h"), default=600.0, doc="The whole request, retries included.")

From this one line come the YAML key (`request`), the check with its located error, the row of the reference page and
the property in the JSON Schema. A block is a frozen, slotted dataclass with keyword arguments only.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform

from control_plane.policy.kinds import Kind

_BlockT = TypeVar("_BlockT", bound="Block")

_SETTING = "kvpilot.setting"
_NO_VALUE: Final[Any] = object()


class Block:
    """A mapping of the policy file; its subclasses are made by `block`."""

    __slots__ = ()

    # Declared for `dataclasses.replace` and `dataclasses.fields`, which ask for it by type.
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    PLANNED: ClassVar[Mapping[str, str]] = {}
    """Keys of a later version, see `block`."""
    STAND_INS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys of a later version that take the place of a required one, see `block`."""
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    """Keys of which exactly one is there, see `block`."""


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Another key that says the same in a simpler way: `pool: a` for `route: [{pool: a}]`."""

    key: str
    kind: Kind[Any]
    expand: Callable[[Any], Any]
    """From the value of the short key to the value of the field."""
    parts: tuple[str, ...]
    """Paths below the field that are written at the short key, for error messages: `[0]`, `[0].pool`."""
    doc: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared about one field."""

    field: str
    key: str
    kind: Kind[Any]
    doc: str
    required: bool
    absent: Callable[[], Any]
    """The value when the key is not in the file (never called for a required key)."""
    absent_text: str
    """The same for people; empty for a required key."""
    has_default: bool
    """Whether `absent` is the value itself; else it is filled in from the rest of the document."""
    shorthand: Shorthand | None
    is_key: bool
    """Whether the value is the key under which the block stands, and no key of the block."""


def setting(
    kind: Kind[Any],
    *,
    doc: str,
    key: str = "",
    default: Any = _NO_VALUE,
    default_factory: Callable[[], Any] = _NO_VALUE,
    absent: tuple[Any, str] | None = None,
    required: bool | None = None,
    shorthand: Shorthand | None = None,
    is_key: bool = False,
    hash: bool | None = None,  # noqa: A002 - the name that dataclasses.field uses
) -> Any:
    """One field: its kind, its default and its documentation.

    `key` is the YAML key where it is not simply the field's name in camelCase without the kind's unit suffix. Without a
    default the key is required, unless `absent` says which value stands for a missing key and how to call it: that is
    for what depends on the rest of the document and is filled in later. `required=True` demands the key although the
    dataclass has a default.
    """
    declared = {
        "kind": kind, "doc": doc, "key": key, "default": default, "default_factory": default_factory, "absent": absent,
        "required": required, "shorthand": shorthand, "is_key": is_key,
    }  # fmt: skip
    metadata = {_SETTING: declared}
    if default_factory is not _NO_VALUE:
        return dataclasses.field(default_factory=default_factory, hash=hash, metadata=metadata)
    if default is not _NO_VALUE:
        return dataclasses.field(default=default, hash=hash, metadata=metadata)
    return dataclasses.field(hash=hash, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
def block(
    *,
    planned: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, tuple[str, ...]] | None = None,
    one_of: tuple[str, ...] = (),
) -> Callable[[type[_BlockT]], type[_BlockT]]:
    """Makes a class with `setting` fields a block of the policy.

    `planned` are keys that the design or Istio has and this version has not → what they are for: they get an error of
    their own instead of "unknown key". `stand_ins` are required keys → the planned keys that would be there in their
    place, where a second error about a missing key would only confuse. `one_of` are optional keys of which exactly one
    must be there; short forms count.
    """

    def make(cls: type[_BlockT]) -> type[_BlockT]:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.PLANNED = planned or {}
        made.STAND_INS = stand_ins or {}
        made.ONE_OF = one_of
        return made

    return make


def settings_of(cls: type[Block]) -> tuple[Setting, ...]:
    """The declared fields of a block, in order: its own, then those that it shares with others by a common base."""
    fields = sorted(dataclasses.fields(cls), key=lambda field: field.name not in cls.__annotations__)
    return tuple(_setting(field) for field in fields)


def summary(cls: type[Block]) -> str:
    """What a block is: its docstring up to the first empty line, as one line."""
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def _setting(field: "dataclasses.Field[Any]") -> Setting:
    declared = field.metadata[_SETTING]
    kind: Kind[Any] = declared["kind"]
    absent, absent_text = _absent(declared)
    return Setting(
        field=field.name,
        key=declared["key"] or yaml_key(field.name, kind.unit_suffix),
        kind=kind,
        doc=declared["doc"],
        required=declared["required"] if declared["required"] is not None else absent is None,
        absent=absent or _never,
        absent_text=absent_text,
        has_default=absent is not None and declared["absent"] is None,
        shorthand=declared["shorthand"],
        is_key=declared["is_key"],
    )


def _absent(declared: Mapping[str, Any]) -> tuple[Callable[[], Any] | None, str]:
    if declared["absent"] is not None:
        value, text = declared["absent"]
        return lambda: value, text
    if declared["default_factory"] is not _NO_VALUE:
        factory: Callable[[], Any] = declared["default_factory"]
        return factory, declared["kind"].show(factory())
    if declared["default"] is not _NO_VALUE:
        return lambda: declared["default"], declared["kind"].show(declared["default"])
    return None, ""


def _never() -> Any:
    raise AssertionError("a required key has no default")


def yaml_key(field: str, unit_suffix: str = "") -> str:
    """The key of a field: `message_timeout_s` → `messageTimeout`, `from_` → `from`.

    >>> yaml_key("consecutive_5xx_errors")
    'consecutive5xxErrors'
    """
    first, *others = field.removesuffix(unit_suffix).strip("_").split("_")
    return first + "".join(word.capitalize() for word in others)
