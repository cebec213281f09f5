"""What Envoys answer, and what follows from it: the observer of the server.

An acceptance makes a content good, and a version where a whole group has it. A refusal puts a content in quarantine, or
rolls back where nobody can tell which one it was, or where a candidate brought it.
"""

import logging
from collections.abc import Callable, Mapping

from control_plane.compile import Node
from control_plane.sidecar.builds import Variant
from control_plane.sidecar.offers import Offers, scope
from control_plane.sidecar.progress import Progress
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.sidecar.versions import Versions
from control_plane.xds.identity import Identity
from control_plane.xds.kinds import short_name
from control_plane.xds.quarantine import Quarantine, Rejected
from control_plane.xds.rollout import Rollout

log = logging.getLogger("kvpilot")


class Answers:
    """An `Observer`. Writes the streams, the rollout and the quarantine."""

    def __init__(
        self,
        versions: Versions,
        streams: Streams,
        rollout: Rollout,
        quarantine: Quarantine,
        offers: Offers,
        progress: Progress,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when other snapshots are to be served than before. Assign `accepted`: it is called with a
        version that all Envoys of some group have accepted."""
        self._versions = versions
        self._streams = streams
        self._rollout = rollout
        self._quarantine = quarantine
        self._offers = offers
        self._progress = progress
        self._changed = changed
        self.accepted: Callable[[str], None] = lambda version: None

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """Refuses a node that claims a group which its certificate does not entitle it to."""
        objection = self._offers.objection(node, identity)
        if not objection:
            self._streams.open(node)
        return objection

    def disconnected(self, node: Node) -> None:
        """Forgets the stream, and what it had refused for reasons of its own machine."""
        stream = self._streams.close(node)
        # One that the candidate itself shuts out must not keep it from being rolled out.
        if stream is not None and stream.version == self._rollout.candidate and not stream.is_unwanted:
            self._progress.left(node.id)
        if stream is not None and stream.local:
            self._quarantine.forget(stream.local)
            self._changed()

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Remembers what was accepted as good."""
        stream = self._streams.of(node)
        if stream is None or stream.variant is None:
            return
        self._streams.accepted(stream, type_url, resources)
        known = {name: stream.resource(type_url, name, version) for name, version in resources.items()}
        before = self._quarantine.revision
        accepted = {name: found for name, found in known.items() if found is not None}
        self._quarantine.accept(scope(stream.variant), stream.variant, type_url, accepted)
        if stream.has_all():
            self._group_accepted(stream, stream.variant)
        if self._quarantine.revision != before:
            self._changed()

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Quarantines what was refused, or rolls back where the offender cannot be told or a candidate brought it."""
        stream = self._streams.of(node)
        if stream is None or stream.variant is None:
            return
        self._streams.refused(stream, type_url, resources, text)
        where = scope(stream.variant)
        fresh = {
            name: version
            for name, version in resources.items()
            if not self._quarantine.is_accepted(where, type_url, name, version)
        }
        if not fresh or stream.version != self._offers.assigned(node)[0]:
            return  # others took it, so it is this Envoy's own trouble; or it is not given that any more
        if stream.version == self._rollout.candidate and self._is_new_in_candidate(stream, type_url, fresh):
            self._refuse_candidate(stream, type_url, fresh, text)
        elif named or len(fresh) == 1 or not self._go_back(stream, type_url, text):
            self._hold_back(stream, type_url, fresh, text, is_suspect=not named and len(fresh) > 1)
        self._changed()

    # What follows

    def _group_accepted(self, stream: LiveStream, variant: Variant) -> None:
        """A stream has all that it was offered: if that is true of its whole group, the version is good."""
        group, version = variant.group, stream.version
        if self._rollout.accepted.get(group) == version:
            return
        generated = self._versions.build(version, variant).snapshot
        if stream.offered is not generated:
            return  # something of it was refused: this version is not good as a whole
        self._quarantine.settle(scope(variant), variant, generated)
        members = [other for other in self._streams if other.variant and other.variant.group == group]
        if all(other.version == version and other.has_all() for other in members):
            self._rollout.group_accepted(group, version)
            self._offers.prune()
            self.accepted(version)

    def _is_new_in_candidate(self, stream: LiveStream, type_url: str, resources: Mapping[str, str]) -> bool:
        """Whether the candidate brought any of these, rather than a change that the rest has been given, too."""
        assert stream.variant is not None, "asked by the caller"
        stable = self._versions.stable.document
        earlier = self._versions.build(stable.version, self._offers.kind(stream.node, stable))
        now = self._versions.build(stream.version, stream.variant).snapshot.resources(type_url)
        before = earlier.snapshot.resources(type_url)
        return any(
            name in now and now[name].version == version and (name not in before or before[name].version != version)
            for name, version in resources.items()
        )

    def _refuse_candidate(self, stream: LiveStream, type_url: str, resources: Mapping[str, str], text: str) -> None:
        places = [place for name in sorted(resources) for place in self._versions.places(name, type_url)]
        where = f"{places[0]}: " if places else ""
        reason = f"{where}{stream.node.id} refused {short_name(type_url)} {', '.join(sorted(resources))}: {text}"
        log.error("rollout of %s rolled back: %s", self._rollout.candidate, reason)
        self._rollout.refuse(reason)

    def _go_back(self, stream: LiveStream, type_url: str, text: str) -> bool:
        assert stream.variant is not None, "asked by the caller"
        reason = f"{stream.node.id} refused {short_name(type_url)} and did not say what of it: {text}"
        if not self._rollout.go_back(stream.variant.group, stream.version, reason):
            return False
        log.error("group %s rolled back: %s", stream.variant.group, reason)
        return True

    def _hold_back(
        self, stream: LiveStream, type_url: str, resources: Mapping[str, str], text: str, *, is_suspect: bool
    ) -> None:
        assert stream.variant is not None, "asked by the caller"
        for name, version in resources.items():
            rejected = Rejected(
                scope=scope(stream.variant),
                type_url=type_url,
                name=name,
                version=version,
                error=text,
                policy=stream.version,
                is_suspect=is_suspect,
            )
            if self._quarantine.reject(rejected):
                if rejected.is_local:
                    stream.local.append(rejected)
                places = self._versions.places(name, type_url)
                where = f"{places[0]}: " if places else ""
                log.error("%s%s %s is in quarantine: %s", where, short_name(type_url), name, text)
