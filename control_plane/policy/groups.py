"""Which Envoys are what, and how carefully a new policy reaches them.

    groups:
      - name: canary
        appliesTo: {nodeId: {prefix: edge-canary-}}
        rollout: first
    safety: {soak: 10s}

The first group whose conditions hold has the Envoy; one that fits none is in the group `default`, which is always
there and takes no declaration. Conditions are judged by `control_plane.compile.grouping`, the order in which groups
get a new policy by `control_plane.xds.rollout`.
"""

from collections.abc import Mapping

from control_plane.policy.alternatives import OneOrMore
from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.kinds import scalar_text
from control_plane.policy.names import MAX_LABELS, MAX_NAME, plain_name
from control_plane.policy.nodes import Node
from control_plane.policy.reader import Reader
from control_plane.policy.runtime_values import RuntimeValue
from control_plane.policy.scalars import Choice, NameOf, Percent, Text
from control_plane.policy.string_match import StringMatch
from control_plane.policy.units import Duration

DEFAULT_GROUP = "default"
"""The group of Envoys that no other group takes."""

FIRST = "first"
REST = "rest"

MAX_IDENTITY = 2048
"""Characters of an identity: a SPIFFE id has at most 2,048 bytes (SPIFFE-ID standard, section 2.3)."""

MAX_ALTERNATIVES = 256
"""Alternatives of one condition: a longer list is a regex, or a job for the bootstrap's metadata."""

MAX_RUNTIME_KEYS = 1_000
"""Runtime values in one policy: Envoy has about 300 flags, and each new layer is built anew on every worker."""

GROUP_NAME = plain_name("the name of a group")
METADATA_KEY = Text(
    "a key of node.metadata (letters, digits, `_`, `-`, `/`; a dot goes deeper)",
    "[A-Za-z0-9][A-Za-z0-9._/-]*",
    MAX_NAME,
)
IDENTITY = Text("a SPIFFE id or a common name (printable ASCII; `*` only at the end)", "[!-)+-~ ]*\\*?", MAX_IDENTITY)
RUNTIME_KEY = Text("a runtime key (letters, digits, `.`, `_`, `-`)", "[A-Za-z0-9_][A-Za-z0-9._-]*", 256)

_MATCHES = OneOrMore(BlockOf(StringMatch), MAX_ALTERNATIVES)


class GroupRef(NameOf):
    """The name of a group of the file, or that of the group that is always there."""

    def __init__(self) -> None:
        super().__init__("groups")

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The name, noted as a reference unless it is `default`."""
        if scalar_text(reader, node, self.noun) == DEFAULT_GROUP:
            return DEFAULT_GROUP
        return NameOf.read(self, reader, node, path)

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"name of one of the `groups`, or `{DEFAULT_GROUP}`"


@block()
class AppliesTo(Block):
    """Which Envoys a group has: those for which every condition holds that is given, by any of its alternatives."""

    node_id: tuple[StringMatch, ...] = setting(
        _MATCHES, default=(), absent=((), "any"), doc="On `node.id` of its bootstrap."
    )
    cluster: tuple[StringMatch, ...] = setting(_MATCHES, default=(), absent=((), "any"), doc="On `node.cluster`.")
    region: tuple[StringMatch, ...] = setting(
        _MATCHES, default=(), absent=((), "any"), doc="On `node.locality.region`."
    )
    zone: tuple[StringMatch, ...] = setting(_MATCHES, default=(), absent=((), "any"), doc="On `node.locality.zone`.")
    metadata: Mapping[str, tuple[StringMatch, ...]] = setting(
        MapOf(METADATA_KEY, _MATCHES, MAX_LABELS),
        default_factory=dict,
        hash=False,
        doc="On texts of `node.metadata`; a dot in a key goes one level deeper. What is missing matches nothing.",
    )


@block()
class Group(Block):
    """Envoys that are configured alike."""

    name: str = setting(GROUP_NAME, doc="Its name; `default` is taken by the group of all others.")
    applies_to: AppliesTo = setting(BlockOf(AppliesTo), doc="Which Envoys it has.")
    rollout: str = setting(
        Choice((FIRST, REST)),
        default=REST,
        doc="`first`: a new policy goes here before it goes anywhere else, and no further if an Envoy here refuses it.",
    )
    identities: tuple[str, ...] = setting(
        ListOf(IDENTITY),
        default=(),
        doc="Who may be in the group: SPIFFE ids or common names of client certificates; a `*` at the end stands for "
        "anything. Empty: everybody. Needs mTLS on the xDS port.",
    )


@block()
class Safety(Block):
    """How much a change may break before it is stopped."""

    max_removed_percent: int = setting(
        Percent(),
        default=50,
        doc="An edit or a discovery result that takes away more than this share of the pools or of the endpoints, and "
        "at least 3 of them, is refused unless it is forced (`kvpilot reload --force`). 100: nothing is refused.",
    )
    soak_s: float = setting(
        Duration("0s", "24h"),
        default=5.0,
        doc="How long a new policy must have been accepted by all Envoys of the groups with `rollout: first` before it "
        "goes to the rest.",
    )
    timeout_s: float = setting(
        Duration("1s", "24h"),
        default=30.0,
        doc="How long those Envoys have for accepting it; after that they get the old policy again.",
    )


RUNTIME = MapOf(RUNTIME_KEY, RuntimeValue(), MAX_RUNTIME_KEYS)
"""The kind of `runtime`: runtime keys and their values."""
