"""What is told of the Envoys and their groups: for the status, for readiness, for metrics. Changes nothing."""

from collections.abc import Iterator

from control_plane.policy.groups import DEFAULT_GROUP, FIRST
from control_plane.sidecar.builds import Build, Variant
from control_plane.sidecar.offers import Offers
from control_plane.sidecar.progress import Progress
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.sidecar.versions import Versions
from control_plane.xds.kinds import short_name
from control_plane.xds.quarantine import Held
from control_plane.xds.rollout import Rollout, Stage


class Overview:
    """Answers from what there is now; iterate at once."""

    def __init__(
        self, versions: Versions, streams: Streams, rollout: Rollout, offers: Offers, progress: Progress
    ) -> None:
        self._versions = versions
        self._streams = streams
        self._rollout = rollout
        self._offers = offers
        self._progress = progress

    def held_back(self) -> Iterator[tuple[Variant, Held]]:
        """What Envoys in use are not given because it was refused, each content once per group."""
        seen = set()
        for version, variant in self._offers.in_use():
            for held in self._offers.served(version, variant).held:
                key = (variant.group, held.rejected.type_url, held.rejected.name, held.rejected.version)
                if key not in seen:
                    seen.add(key)
                    yield variant, held

    def failures(self) -> Iterator[tuple[Variant, str, Build]]:
        """Builds in use in which a pool could not be made."""
        for version, variant in self._offers.in_use():
            made = self._versions.build(version, variant)
            if made.failures:
                yield variant, version, made

    def refusals(self, node_id: str) -> dict[str, list[tuple[str, str]]]:
        """Short name of a type → (resource, error) that an Envoy of this id refused and is not given any more."""
        found: dict[str, list[tuple[str, str]]] = {}
        for stream in self._streams:
            if stream.node.id == node_id:
                for type_url, name, error in self._refusals(stream):
                    found.setdefault(short_name(type_url), []).append((name, error))
        return found

    def all_refusals(self) -> Iterator[tuple[str, str, str, str]]:
        """(group, short name of a type, resource, error) of what connected Envoys refused and still go without."""
        for stream in self._streams:
            if stream.variant is not None and stream.refused:
                for type_url, name, error in self._refusals(stream):
                    yield stream.variant.group, short_name(type_url), name, error

    def empty_handed(self) -> Iterator[tuple[str, str, str]]:
        """(node, short name of a type, error) of Envoys that refused something and hold nothing of that type."""
        for stream in self._streams:
            for type_url, _, error in self._refusals(stream):
                if not stream.held.get(type_url):
                    yield stream.node.id, short_name(type_url), error

    def _refusals(self, stream: LiveStream) -> Iterator[tuple[str, str, str]]:
        if stream.variant is None or stream.version not in self._versions:
            return
        generated = self._versions.build(stream.version, stream.variant).snapshot
        for type_url, by_name in stream.refused.items():
            for name, (version, error) in by_name.items():
                wanted = generated.resources(type_url).get(name)
                if wanted is not None and wanted.version == version:
                    yield type_url, name, error

    def groups(self) -> Iterator[tuple[str, str, str, int, str]]:
        """(group, its rollout, its version, connected Envoys, state) for every group of the newest policy."""
        newest = self._versions.newest.document
        counts: dict[str, list[LiveStream]] = {}
        for stream in self._streams:
            counts.setdefault(self._offers.kind(stream.node, newest).group, []).append(stream)
        declared = ((group.name, group.rollout) for group in newest.policy.groups)
        for name, rollout in (*declared, (DEFAULT_GROUP, "rest")):
            version = self._rollout.version_for(is_first=rollout == FIRST, group=name)
            members = counts.get(name, [])
            yield name, rollout, version, len(members), self._state_of(name, version, members)

    def _state_of(self, group: str, version: str, members: list[LiveStream]) -> str:
        if version == self._rollout.candidate:
            is_soaking = self._rollout.stage is Stage.SOAKING and not self._progress.misses_any
            return "soaking" if is_soaking else "rolling-out"
        if group in self._rollout.pins:
            return "rolled-back"
        if self._rollout.candidate is not None:
            return "waiting"
        return "applied" if all(stream.has_all() for stream in members) else "pending"
