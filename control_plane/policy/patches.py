"""`envoyPatch`: the way out where the policy has no word for what Envoy can do.

A patch is a JSON patch (RFC 6902) on one named resource in Envoy's own JSON, as `kvpilot render` prints it. Whether it
fits can only be told from what the policy compiles to: see `control_plane.compile.findings`.
"""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.json_value import JsonValue
from control_plane.policy.names import MAX_NAME, plain_name
from control_plane.policy.reader import Reader
from control_plane.policy.scalars import Choice, Text

PATCH_KINDS = ("cluster", "endpoints", "listener", "route")
"""What can be patched; `route` is a listener's whole route configuration."""

PATCH_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")
"""RFC 6902, section 4."""

MAX_OPERATIONS = 100
"""Operations of one patch: more are a policy of their own, and each costs time with every change of the fleet."""

_PATCH_NAME = plain_name("the name of a patch")
_RESOURCE_NAME = Text("the name of an Envoy resource (printable ASCII without blanks)", "[!-~]+", 2 * MAX_NAME)
# RFC 6901, section 3; a `~` is only ever `~0` or `~1`.
_POINTER = Text(
    "a JSON pointer: empty, or steps that each start with `/`, such as `/circuitBreakers/thresholds/0`",
    "(?:/(?:[^~/]|~[01])*)*",
    1024,
    code=Code.NOT_A_VALUE,
)

_WITH_VALUE = frozenset(("add", "replace", "test"))
_WITH_SOURCE = frozenset(("move", "copy"))


@block()
class PatchOperation(Block):
    """One operation of a JSON patch (RFC 6902)."""

    op: str = setting(Choice(PATCH_OPERATIONS), doc="What is done at `path`.")
    path: str = setting(
        _POINTER,
        doc="Where, as a JSON pointer into the resource; keys are in lowerCamelCase, as `kvpilot render` prints them, "
        "and `/-` at the end of a list is behind its last item.",
    )
    value: str = setting(
        JsonValue(),
        default="",
        absent=("", ""),
        doc="What is put there (`add`, `replace`) or expected there (`test`): any JSON; in quotes a number is a text.",
    )
    from_: str | None = setting(
        _POINTER, default=None, absent=(None, ""), doc="Where it is taken from (`move`, `copy`)."
    )


@block()
class EnvoyPatch(Block):
    """A change of one of Envoy's resources, after everything else; if it does not fit, the policy is refused."""

    name: str = setting(_PATCH_NAME, doc="Its name, for messages.")
    kind: str = setting(
        Choice(PATCH_KINDS), doc="What is patched; `route` is the whole route configuration of a listener."
    )
    resource: str = setting(
        _RESOURCE_NAME,
        doc="Which one: `pool/<pool>` for clusters and endpoints, the listener's name for listeners and routes.",
    )
    patch: tuple[PatchOperation, ...] = setting(
        ListOf(BlockOf(PatchOperation), minimum=1, maximum=MAX_OPERATIONS),
        doc="The operations, one after the other; all of them or none.",
    )


def check_operation(operation: PatchOperation, path: str, reader: Reader) -> None:
    """Each operation has exactly the members that RFC 6902 gives it."""
    wants_value, wants_source = operation.op in _WITH_VALUE, operation.op in _WITH_SOURCE
    if wants_value and not operation.value:
        reader.report_at(path, Code.MISSING_KEY, f"`value` is missing: `{operation.op}` needs one", "null is one, too")
    if operation.value and not wants_value:
        reader.report_at(f"{path}.value", Code.NO_EFFECT, f"`value` does nothing with `{operation.op}`", "remove it")
    if wants_source and operation.from_ is None:
        reader.report_at(path, Code.MISSING_KEY, f"`from` is missing: `{operation.op}` needs one")
    if operation.from_ is not None and not wants_source:
        reader.report_at(f"{path}.from", Code.NO_EFFECT, f"`from` does nothing with `{operation.op}`", "remove it")
