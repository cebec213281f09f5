"""What the xDS server serves: the applied policy, compiled once for each kind of node that asks.

`propose` compiles a new document for everything that is connected before it becomes the applied one, so a policy that
cannot be compiled changes nothing (docs/design.md, "last good beats latest").
"""

from dataclasses import dataclass

from control_plane.compile import Capabilities, Compiled, Node, Services, capabilities, compile_snapshot
from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.xds.snapshot import Memo, Snapshot, build_snapshot
from protos.messages import Messages

MAX_VARIANTS = 256
"""Different (capabilities, region, zone) kept compiled: one per kind of Envoy, and far more than one control plane
sees. A client that invents localities must not fill the memory; past the bound the oldest variant is compiled anew."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What a compiled snapshot depends on beside the policy: equal variants share one snapshot."""

    capabilities: Capabilities
    region: str
    zone: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A document with its fleet and what it compiled to so far, by variant."""

    document: Document
    fleet: Fleet
    compiled: dict[Variant, tuple[Compiled, Snapshot]]


class SlowLoop:
    """Mutable: the applied document (swapped whole by `apply`), the snapshots compiled from it, and for each variant a
    memo of what need not be serialised again."""

    def __init__(self, messages: Messages, services: Services, document: Document, fleet: Fleet) -> None:
        """Compiles `document` for a plain node at once, so that an error shows before anything is served."""
        self._messages = messages
        self._services = services
        self._memos: dict[Variant, Memo] = {}
        self._plain = variant_of(Node(id="", cluster="", region="", zone="", version=None, extensions=None))
        self._applied = Applied(document, fleet, {})
        self._applied = self.propose(document, fleet)

    @property
    def document(self) -> Document:
        """The policy that is served."""
        return self._applied.document

    def propose(self, document: Document, fleet: Fleet) -> Applied:
        """`document` compiled for every variant in use; raises what the compiler raises and changes nothing."""
        # Not a set: the order is their age.
        variants = dict.fromkeys((*self._applied.compiled, self._plain))
        return Applied(document, fleet, {variant: self._compile(document, fleet, variant) for variant in variants})

    def apply(self, proposal: Applied) -> None:
        """Makes `proposal` what is served from now on."""
        self._applied = proposal

    def snapshot_for(self, node: Node) -> Snapshot:
        """The snapshot of the applied policy for this node."""
        return self._for(variant_of(node))[1]

    def left_out_for(self, node: Node) -> tuple[str, ...]:
        """What this node does not get because it could not take it, in words."""
        return self._for(variant_of(node))[0].left_out

    def places(self, resource: str) -> list[str]:
        """Where the policy says what became the resources of this name, as `file:line:column`."""
        compiled = self._for(self._plain)[0]
        paths = dict.fromkeys(path for (_, name), path in compiled.provenance.items() if name == resource)
        return [str(mark) for path in paths if (mark := self.document.mark(path)) is not None]

    def _for(self, variant: Variant) -> tuple[Compiled, Snapshot]:
        applied = self._applied
        found = applied.compiled.get(variant)
        if found is None:
            while len(applied.compiled) >= MAX_VARIANTS:
                oldest = next(iter(applied.compiled))
                del applied.compiled[oldest]
                self._memos.pop(oldest, None)
            found = applied.compiled[variant] = self._compile(applied.document, applied.fleet, variant)
        return found

    def _compile(self, document: Document, fleet: Fleet, variant: Variant) -> tuple[Compiled, Snapshot]:
        compiled = compile_snapshot(
            document.policy, fleet, self._services, variant.capabilities, variant.region, variant.zone
        )
        memo = self._memos.setdefault(variant, Memo())
        return compiled, build_snapshot(compiled.by_type_url(), self._messages, memo)


def variant_of(node: Node) -> Variant:
    """The part of a node that its configuration depends on."""
    return Variant(capabilities(node), node.region, node.zone)
