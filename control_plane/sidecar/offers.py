"""Who is offered what: the version of the policy that an Envoy gets, and its snapshot without what was refused.

The decisions are in `control_plane.xds`: which version a group gets (`rollout`), and what is served in place of a
resource that was refused (`quarantine`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from control_plane.compile import Node
from control_plane.compile.grouping import group_named, group_of
from control_plane.policy import Document
from control_plane.policy.groups import FIRST
from control_plane.sidecar.builds import Variant, variant_of
from control_plane.sidecar.streams import Streams
from control_plane.sidecar.versions import PLAIN, Versions
from control_plane.xds.identity import Identity, allowed
from control_plane.xds.quarantine import Effective, Quarantine
from control_plane.xds.rollout import Rollout
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.wire import IDENTIFIER


def scope(variant: Variant) -> tuple[object, str]:
    """What decides whether an Envoy takes a message: its build, and the group it is in."""
    return variant.capabilities, variant.group


class Offers:
    """What the server asks. Mutable: what streams are offered, and the effective snapshots of versions."""

    def __init__(self, versions: Versions, streams: Streams, rollout: Rollout, quarantine: Quarantine) -> None:
        """Assign `remember`: it takes what an Envoy that comes may hold from before the restart."""
        self._versions = versions
        self._streams = streams
        self._rollout = rollout
        self._quarantine = quarantine
        self.remember: Callable[[Snapshot], None] = lambda snapshot: None

    def snapshot_for(self, node: Node) -> Snapshot | None:
        """What this node is to have now; None while that is being made elsewhere, and there will be word of it."""
        version, variant = self.assigned(node)
        if self._versions.is_delegated(version, variant):
            return None
        snapshot = self.served(version, variant).snapshot
        stream = self._streams.of(node)
        if stream is not None:
            if stream.offered is None and self._rollout.restored in self._versions:
                self.remember(self._versions.build(self._rollout.restored, variant).snapshot)
            stream.offer(version, variant, snapshot)
        return snapshot

    def left_out_for(self, node: Node) -> tuple[str, ...]:
        """What this node does not get because it could not take it, in words."""
        version, variant = self.assigned(node)
        is_there = not self._versions.is_delegated(version, variant)
        return self._versions.build(version, variant).left_out if is_there else ()

    def identifier_for(self, node: Node) -> str:
        """What responses to this node say of who sent them: the version of the policy that it was offered."""
        stream = self._streams.of(node)
        return f"{IDENTIFIER}/{stream.version if stream and stream.version else self._rollout.stable}"

    def objection(self, node: Node, identity: Identity | None) -> str | None:
        """Why this node may not have what it would get, None if it may; asked again when the policy changes."""
        stable, newest = self._versions.stable.document, self._versions.newest.document
        for document in {stable.version: stable, newest.version: newest}.values():
            group = group_named(document.policy, self.kind(node, document).group)
            if group is not None and not allowed(identity, group.identities):
                who = identity or "a client without TLS"
                stream = self._streams.of(node)
                if stream is not None:
                    stream.is_unwanted = True
                return f"node {node.id!r} claims to be in the group {group.name!r}, which {who} may not"
        return None

    def assigned(self, node: Node) -> tuple[str, Variant]:
        """The version that a node gets, and its kind under that version's groups."""
        rollout = self._rollout
        if rollout.candidate is not None:
            document = self._versions[rollout.candidate].document
            kind = self.kind(node, document)
            group = group_named(document.policy, kind.group)
            if group is not None and group.rollout == FIRST:
                return rollout.candidate, kind
        kind = self.kind(node, self._versions.stable.document)
        version = rollout.version_for(is_first=False, group=kind.group)
        if version != rollout.stable:
            kind = self.kind(node, self._versions[version].document)
        return version, kind

    def kind(self, node: Node, document: Document) -> Variant:
        """The kind of Envoy that a node is under a policy; found out once per stream."""
        stream = self._streams.of(node)
        known = stream.kinds.get(document.version) if stream else None
        if known is None:
            known = variant_of(node, group_of(document.policy, node))
            if stream is not None:
                stream.kinds[document.version] = known
        return known

    def served(self, version: str, variant: Variant) -> Effective:
        """What is served in place of a build's snapshot; the same object as long as it has the same content."""
        generated = self._versions.build(version, variant).snapshot
        memory, revision = self._versions[version].effective, self._quarantine.revision
        known = memory.get(variant)
        if known is not None and known[0] is generated and known[1] == revision:
            return known[2]
        last_good = self._last_good(version, variant) if self._quarantine.rejections() else None
        effective = self._quarantine.effective(scope(variant), variant, generated, last_good)
        if known is not None and known[2].snapshot.versions == effective.snapshot.versions:
            effective = replace(effective, snapshot=known[2].snapshot)
        memory[variant] = (generated, revision, effective)
        return effective

    def _last_good(self, version: str, variant: Variant) -> Snapshot | None:
        accepted = self._rollout.last_accepted(variant.group) or self._rollout.stable
        if accepted == version or accepted not in self._versions:
            return None
        return self._versions.build(accepted, variant).snapshot

    def in_use(self) -> Iterator[tuple[str, Variant]]:
        """Each version with each kind of Envoy that was offered it; of the newest a plain one if there is nobody."""
        pairs = {(stream.version, stream.variant): None for stream in self._streams if stream.variant is not None}
        for version, variant in pairs:
            if variant is not None and version in self._versions:
                yield version, variant
        if not pairs:
            yield self._versions.newest.document.version, PLAIN

    def prune(self) -> None:
        """Lets go of versions and of kinds of Envoys that nobody has any more."""
        self._versions.prune()
        for stream in self._streams:
            stream.kinds = {version: kind for version, kind in stream.kinds.items() if version in self._versions}
        self._quarantine.keep_places(frozenset((scope(variant), variant) for variant in self._versions.variants()))
