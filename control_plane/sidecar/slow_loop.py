"""What the xDS server serves: each version of the policy that is in use, compiled once for each kind of Envoy.

    loop = SlowLoop(messages, services, document, fleet)
    job = loop.prepare(new_document, new_fleet)       # here: what is to be done
    proposal = await asyncio.to_thread(job)           # there: the work; raises what the compiler raises
    loop.apply(proposal, now)                         # here again: who gets it is up to the rollout

Config and endpoints are two lanes: `prepare`/`apply` compile everything for a new document, `fleet_changed` makes
only the assignments of the pools that changed, and neither waits for the other. Only kinds of Envoys that are
connected are compiled for; another one is compiled for when it comes.

The decisions are in `control_plane.xds`: which version an Envoy gets (`rollout`), and what is served in place of a
resource that was refused (`quarantine`). This class knows what they are about: documents, builds and streams.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from control_plane.compile import MESSAGE_OF_KIND, Node, Services
from control_plane.compile.grouping import group_named, group_of
from control_plane.compile.materials import NO_MATERIALS, Materials, materials_of
from control_plane.compile.names import cluster_name
from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.policy.groups import DEFAULT_GROUP, FIRST
from control_plane.policy.model import Policy
from control_plane.sidecar.builds import (
    Assignments,
    Build,
    Inputs,
    Variant,
    assignments,
    build,
    variant_of,
    with_assignments,
)
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.xds.identity import Identity, allowed
from control_plane.xds.kinds import short_name
from control_plane.xds.quarantine import Effective, Held, Quarantine, Rejected
from control_plane.xds.rollout import Event, Pace, Rollout, Stage
from control_plane.xds.snapshot import Memo, Snapshot
from control_plane.xds.wire import IDENTIFIER
from protos.messages import TYPE_URL_PREFIX, Messages

log = logging.getLogger("kvpilot")

MAX_VARIANTS = 256
"""Different (capabilities, region, zone, group) kept compiled per version: one per kind of Envoy, and far more than one
control plane sees. A client that invents localities must not fill the memory; past the bound the oldest is compiled
anew."""

MAX_GONE = 1_024
"""Envoys that have gone in a rollout and are remembered by name: a first group is a few of the fleet."""

INLINE_ENDPOINTS = 1_000
"""Endpoints up to which a build for one more kind of Envoy is made on the event loop: some 20 ms at the most. With more
it is made in a thread, so that no pick waits for it."""

RETURN_S = 5.0
"""How long an Envoy of a first group may be without a stream in a rollout and count as before. It comes back within a
second where the stream ended for its age; one that is away for longer may have died of the new policy."""

COMEBACK_S = 30.0
"""How long a rollout at the start waits for Envoys of the first groups to come back: that is the longest pause between
two tries of an Envoy (`retry_initial_delay` 0.5 s, `retry_max_delay` 30 s by default, Envoy's page on xDS retries)."""

_KINDS = {TYPE_URL_PREFIX + message: kind for kind, message in MESSAGE_OF_KIND.items()}

PLAIN = variant_of(Node(id=""))
"""An Envoy that tells nothing of itself: always compiled for, so that an error shows before anybody asks."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A document that was compiled for every kind of Envoy in use."""

    inputs: Inputs
    builds: Mapping[Variant, Build]


@dataclass(frozen=True, slots=True)
class NewEndpoints:
    """New assignments for one kind of Envoy under one version, made from `fleet`."""

    version: str
    variant: Variant
    fleet: Fleet
    assignments: Assignments


@dataclass(slots=True)
class _Version:
    """One version of the policy in use. Mutable: the inputs' fleet and materials, and the builds."""

    inputs: Inputs
    builds: dict[Variant, Build]

    @property
    def document(self) -> Document:
        return self.inputs.document


class SlowLoop:
    """Also the server's observer. Mutable: the versions in use, the open streams, rollout and quarantine; all on one
    event loop, but for the jobs of `prepare`, which work on copies."""

    def __init__(
        self,
        messages: Messages,
        services: Services,
        document: Document,
        fleet: Fleet,
        materials: Materials = NO_MATERIALS,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Compiles `document` for a plain node at once, so that an error shows before anything is served.

        Assign these: `changed` is called when other snapshots are to be served than before, or the rollout has moved;
        `accepted` with a version that all Envoys of some group have accepted; `delegate` takes a job that is too long
        for the event loop, has it done elsewhere, calls what that returns, and publishes; `remember` takes what an
        Envoy that comes may hold from before the restart.
        """
        self._messages = messages
        self._services = services
        self._clock = clock
        self._memos: dict[Variant, Memo] = {}
        self._effective: dict[tuple[str, Variant], tuple[Snapshot, int, Effective]] = {}
        self._versions: dict[str, _Version] = {}
        self._under_way: set[tuple[str, Variant]] = set()
        self._gone: dict[str, float] = {}
        self._now = 0.0
        self._comeback_until = float("-inf")
        self.streams = Streams()
        self.quarantine = Quarantine()
        self.rollout = Rollout(document.version)
        self.changed: Callable[[], None] = lambda: None
        self.accepted: Callable[[str], None] = lambda version: None
        self.remember: Callable[[Snapshot], None] = lambda snapshot: None
        self.delegate: Callable[[Callable[[], Callable[[], None]]], None] | None = None
        inputs = Inputs(document, fleet, services, materials)
        self._versions[document.version] = _Version(inputs, dict(self._compiled(inputs, (PLAIN,))))

    # What is served

    @property
    def document(self) -> Document:
        """The newest policy that is being served, if only to some."""
        return self._versions[self.rollout.candidate or self.rollout.stable].document

    @property
    def stable(self) -> Document:
        """The policy of all Envoys that are not asked first."""
        return self._versions[self.rollout.stable].document

    @property
    def fleet(self) -> Fleet:
        """The endpoints of `document`."""
        return self._versions[self.document.version].inputs.fleet

    @property
    def kinds(self) -> int:
        """How many builds there are: so often a change of one pool is compiled."""
        return sum(len(version.builds) for version in self._versions.values())

    def inputs(self, version: str) -> Inputs | None:
        """What a version in use is compiled from."""
        found = self._versions.get(version)
        return found.inputs if found else None

    def snapshot_for(self, node: Node) -> Snapshot | None:
        """What this node is to have now; None while that is being made elsewhere, and `changed` will be called."""
        version, variant = self._assigned(node)
        if self._is_delegated(version, variant):
            return None
        snapshot = self._served(version, variant).snapshot
        stream = self.streams.of(node)
        if stream is not None:
            if stream.offered is None and self.rollout.restored in self._versions:
                self.remember(self._build(self.rollout.restored, variant).snapshot)
            stream.offer(version, variant, snapshot)
        return snapshot

    def left_out_for(self, node: Node) -> tuple[str, ...]:
        """What this node does not get because it could not take it, in words."""
        version, variant = self._assigned(node)
        return () if self._is_delegated(version, variant) else self._build(version, variant).left_out

    def identifier_for(self, node: Node) -> str:
        """What responses to this node say of who sent them: the version of the policy that it was offered."""
        stream = self.streams.of(node)
        return f"{IDENTIFIER}/{stream.version if stream and stream.version else self.rollout.stable}"

    def group_for(self, node: Node) -> str:
        """The group that has this node under the policy that it gets."""
        return self._assigned(node)[1].group

    def places(self, resource: str, type_url: str = "") -> list[str]:
        """Where the policy says what became the resources of this name, as `file:line:column`; of one type."""
        kind = _KINDS.get(type_url, "")
        newest = self._versions[self.document.version]
        found: dict[str, None] = {}
        for version in (newest, *(other for other in self._versions.values() if other is not newest)):
            for made in version.builds.values():
                paths = dict.fromkeys(
                    path for (of, name), path in made.provenance.items() if name == resource and kind in ("", of)
                )
                marks = (version.document.mark(path) for path in paths)
                found |= dict.fromkeys(str(mark) for mark in marks if mark is not None)
            if found:
                break
        return list(found)

    def place_of_pool(self, cluster: str) -> str:
        """Where the pool of a cluster stands in the newest policy; for one that could not be made."""
        policy = self.document.policy
        name = next((pool.name for pool in policy.pools if cluster_name(pool.name) == cluster), "")
        mark = self.document.mark(f"pools.{name}")
        return str(mark) if mark else ""

    # The config lane

    def prepare(self, document: Document, fleet: Fleet, materials: Materials | None = None) -> Callable[[], Proposal]:
        """The job of compiling `document` for every kind of Envoy that is connected; it changes nothing, and raises
        what the compiler raises."""
        kept = self._versions[self.document.version].inputs.materials if materials is None else materials
        inputs = Inputs(document, fleet, self._services, kept)
        variants = tuple(dict.fromkeys((*self._live_variants(document), PLAIN)))
        last = {variant: made.snapshot for variant, made in self._versions[self.rollout.stable].builds.items()}
        return lambda: Proposal(inputs, dict(self._compiled(inputs, variants, last)))

    def propose(self, document: Document, fleet: Fleet) -> Proposal:
        """The same, at once."""
        return self.prepare(document, fleet)()

    def apply(self, proposal: Proposal, now: float = 0.0, *, force: bool = False) -> None:
        """Offers the document: to everybody, or first to the groups that go first. With `force` to everybody, and what
        was refused before gets another chance."""
        document = proposal.inputs.document
        self._versions[document.version] = _Version(proposal.inputs, dict(proposal.builds))
        self.quarantine.revision += 1
        safety = document.policy.safety
        staged = not force and any(group.rollout == FIRST for group in document.policy.groups)
        if force:
            self.quarantine.forget_all()
        self.quarantine.forget_suspects()
        self._gone.clear()
        self._now = now
        self.rollout.offer(document.version, Pace(staged=staged, soak_s=safety.soak_s, timeout_s=safety.timeout_s), now)
        self._prune()

    def await_comeback(self, now: float) -> None:
        """The process has just begun: that no Envoy of the first groups is connected says nothing for a while."""
        self._comeback_until = now + COMEBACK_S

    def restore(self, proposal: Proposal) -> None:
        """An earlier policy that Envoys had accepted before this process began: what is served in place of a resource
        that is refused now."""
        self._versions.setdefault(proposal.inputs.document.version, _Version(proposal.inputs, dict(proposal.builds)))
        self.rollout.restored = proposal.inputs.document.version

    # The endpoints' lane

    def fleet_changed(self, fleet: Fleet, pools: Collection[str]) -> None:
        """Other endpoints for these pools: their assignments alone are made anew, for each kind of Envoy in use.

        A version in which such a pool is declared otherwise than in the newest keeps the endpoints that it had.
        """
        self.apply_endpoints(self.prepare_endpoints(fleet, pools)())

    def prepare_endpoints(self, fleet: Fleet, pools: Collection[str]) -> Callable[[], Sequence[NewEndpoints]]:
        """The same as a job for a thread, whose result `apply_endpoints` takes. The fleet counts from now on."""
        newest = self.document.policy
        tasks: list[tuple[str, Policy, frozenset[str], Fleet, tuple[Variant, ...]]] = []
        for name, version in self._versions.items():
            policy = version.document.policy
            wanted = frozenset(pool for pool in pools if policy is newest or _is_same_pool(pool, policy, newest))
            if wanted:
                known = version.inputs.fleet.pools
                merged = Fleet(pools={**known, **{pool: fleet.pools.get(pool, ()) for pool in wanted}})
                version.inputs = replace(version.inputs, fleet=merged)
                tasks.append((name, policy, wanted, merged, tuple(version.builds)))
        return lambda: [
            NewEndpoints(name, variant, merged, assignments(policy, wanted, merged, variant, self._messages))
            for name, policy, wanted, merged, variants in tasks
            for variant in variants
        ]

    def apply_endpoints(self, made: Sequence[NewEndpoints]) -> None:
        """Serves what `prepare_endpoints` had made; what has been overtaken since is left out."""
        for new in made:
            version = self._versions.get(new.version)
            if version is not None and new.variant in version.builds:
                fresh = _still_true(new, version.inputs.fleet)
                version.builds[new.variant] = with_assignments(version.builds[new.variant], fresh)

    def materials_changed(self, materials: Materials) -> None:
        """Other contents of the files that the newest policy names."""
        self.prepare_materials(materials)()()

    def prepare_materials(self, materials: Materials) -> Callable[[], Callable[[], None]]:
        """The same as a job for a thread, which gives what is to be done here in the end: everything is compiled anew.
        What only an older policy names stays."""
        tasks: list[tuple[_Version, Variant, Inputs]] = []
        for version in self._versions.values():
            merged = materials_of({**dict(version.inputs.materials.files), **dict(materials.files)})
            version.inputs = replace(version.inputs, materials=merged)
            tasks += [(version, variant, version.inputs) for variant in version.builds]

        def work() -> Callable[[], None]:
            made = [(*task, build(task[2], task[1], self._messages, Memo())) for task in tasks]

            def install() -> None:
                for version, variant, inputs, one in made:
                    if variant in version.builds and version.inputs.materials == inputs.materials:
                        version.builds[variant] = _caught_up(one, inputs, version.inputs, variant, self._messages)

            return install

        return work

    # The observer of the server

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """Refuses a node that claims a group which its certificate does not entitle it to."""
        objection = self.objection(node, identity)
        if not objection:
            self.streams.open(node)
        return objection

    def objection(self, node: Node, identity: Identity | None) -> str | None:
        """Why this node may not have what it would get, None if it may; asked again when the policy changes."""
        for document in {self.stable.version: self.stable, self.document.version: self.document}.values():
            group = group_named(document.policy, self._kind(node, document).group)
            if group is not None and not allowed(identity, group.identities):
                who = identity or "a client without TLS"
                stream = self.streams.of(node)
                if stream is not None:
                    stream.is_unwanted = True
                return f"node {node.id!r} claims to be in the group {group.name!r}, which {who} may not"
        return None

    def disconnected(self, node: Node) -> None:
        """Forgets the stream, and what it had refused for reasons of its own machine."""
        stream = self.streams.close(node)
        # One that the candidate itself shuts out must not keep it from being rolled out.
        if stream is not None and stream.version == self.rollout.candidate and not stream.is_unwanted:
            self._gone[node.id] = self._now
            while len(self._gone) > MAX_GONE:
                del self._gone[next(iter(self._gone))]
        if stream is not None and stream.local:
            self.quarantine.forget(stream.local)
            self.changed()

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Remembers what was accepted as good."""
        stream = self.streams.of(node)
        if stream is None or stream.variant is None:
            return
        self.streams.accepted(stream, type_url, resources)
        known = {name: stream.resource(type_url, name, version) for name, version in resources.items()}
        before = self.quarantine.revision
        accepted = {name: found for name, found in known.items() if found is not None}
        self.quarantine.accept(_scope(stream.variant), stream.variant, type_url, accepted)
        if stream.has_all():
            self._group_accepted(stream, stream.variant)
        if self.quarantine.revision != before:
            self.changed()

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Quarantines what was refused, or rolls back where the offender cannot be told or a candidate brought it."""
        stream = self.streams.of(node)
        if stream is None or stream.variant is None:
            return
        self.streams.refused(stream, type_url, resources, text)
        scope = _scope(stream.variant)
        fresh = {
            name: version
            for name, version in resources.items()
            if not self.quarantine.is_accepted(scope, type_url, name, version)
        }
        if not fresh or stream.version != self._assigned(node)[0]:
            return  # others took it, so it is this Envoy's own trouble; or it is not given that any more
        if stream.version == self.rollout.candidate and self._is_new_in_candidate(stream, type_url, fresh):
            self._refuse_candidate(stream, type_url, fresh, text)
        elif named or len(fresh) == 1 or not self._go_back(stream, type_url, text):
            self._quarantine(stream, type_url, fresh, text, is_suspect=not named and len(fresh) > 1)
        self.changed()

    def tick(self, now: float) -> Event | None:
        """Moves a rollout on; called regularly."""
        self._now = now
        candidate = self.rollout.candidate
        if candidate is None:
            return None
        asked = [stream for stream in self.streams if stream.version == candidate and not stream.is_unwanted]
        lacking = [stream.node.id for stream in asked if not stream.has_all()]
        for stream in asked:
            if stream.has_all():
                self._gone.pop(stream.node.id, None)
        away = [node_id for node_id in self._gone if node_id not in lacking]
        returning = {node_id for node_id, since in self._gone.items() if now - since < RETURN_S}
        if not asked and now < self._comeback_until:
            self.rollout.postpone(now)
            return None
        if returning and returning >= {*lacking, *away}:
            return None  # nothing can be said of them yet
        words = ", ".join([*lacking, *(f"{node_id}, which has gone" for node_id in away)])
        event = self.rollout.observe(all_accepted=not words, now=now, lacking=words)
        if event is not None:
            log.info("rollout: %s (%s)", event.value, self.rollout.reason or self.rollout.stable)
            self._prune()
            self.changed()
        return event

    # For the status

    def held_back(self) -> Iterator[tuple[Variant, Held]]:
        """What Envoys in use are not given because it was refused, each content once per group."""
        seen = set()
        for version, variant in self._in_use():
            for held in self._served(version, variant).held:
                key = (variant.group, held.rejected.type_url, held.rejected.name, held.rejected.version)
                if key not in seen:
                    seen.add(key)
                    yield variant, held

    def failures(self) -> Iterator[tuple[Variant, str, Build]]:
        """Builds in use in which a pool could not be made."""
        for version, variant in self._in_use():
            made = self._build(version, variant)
            if made.failures:
                yield variant, version, made

    def refusals(self, node_id: str) -> dict[str, list[tuple[str, str]]]:
        """Short name of a type → (resource, error) that an Envoy of this id refused and is not given any more."""
        found: dict[str, list[tuple[str, str]]] = {}
        for stream in self.streams:
            if stream.node.id == node_id:
                for type_url, name, error in self._refusals(stream):
                    found.setdefault(short_name(type_url), []).append((name, error))
        return found

    def empty_handed(self) -> Iterator[tuple[str, str, str]]:
        """(node, short name of a type, error) of Envoys that refused something and hold nothing of that type."""
        for stream in self.streams:
            for type_url, _, error in self._refusals(stream):
                if not stream.held.get(type_url):
                    yield stream.node.id, short_name(type_url), error

    def _refusals(self, stream: LiveStream) -> Iterator[tuple[str, str, str]]:
        if stream.variant is None or stream.version not in self._versions:
            return
        generated = self._build(stream.version, stream.variant).snapshot
        for type_url, by_name in stream.refused.items():
            for name, (version, error) in by_name.items():
                wanted = generated.resources(type_url).get(name)
                if wanted is not None and wanted.version == version:
                    yield type_url, name, error

    def groups(self) -> Iterator[tuple[str, str, str, int, str]]:
        """(group, its rollout, its version, connected Envoys, state) for every group of the newest policy."""
        policy = self.document.policy
        counts: dict[str, list[LiveStream]] = {}
        for stream in self.streams:
            counts.setdefault(self._kind(stream.node, self.document).group, []).append(stream)
        for name, rollout in (*((group.name, group.rollout) for group in policy.groups), (DEFAULT_GROUP, "rest")):
            version = self.rollout.version_for(is_first=rollout == FIRST, group=name)
            members = counts.get(name, [])
            yield name, rollout, version, len(members), self._state_of(name, version, members)

    def _state_of(self, group: str, version: str, members: list[LiveStream]) -> str:
        if version == self.rollout.candidate:
            is_soaking = self.rollout.stage is Stage.SOAKING and not self._gone
            return "soaking" if is_soaking else "rolling-out"
        if group in self.rollout.pins:
            return "rolled-back"
        if self.rollout.candidate is not None:
            return "waiting"
        return "applied" if all(stream.has_all() for stream in members) else "pending"

    # Within

    def _compiled(
        self, inputs: Inputs, variants: Collection[Variant], last: Mapping[Variant, Snapshot] | None = None
    ) -> Iterator[tuple[Variant, Build]]:
        for variant in variants:
            memo = self._memos.setdefault(variant, Memo())
            yield variant, build(inputs, variant, self._messages, memo, (last or {}).get(variant))

    def _live_variants(self, document: Document) -> Iterator[Variant]:
        for stream in self.streams:
            yield self._kind(stream.node, document)

    def _assigned(self, node: Node) -> tuple[str, Variant]:
        """The version that a node gets, and its kind under that version's groups."""
        rollout = self.rollout
        if rollout.candidate is not None:
            document = self._versions[rollout.candidate].document
            kind = self._kind(node, document)
            group = group_named(document.policy, kind.group)
            if group is not None and group.rollout == FIRST:
                return rollout.candidate, kind
        kind = self._kind(node, self.stable)
        version = rollout.version_for(is_first=False, group=kind.group)
        if version != rollout.stable:
            kind = self._kind(node, self._versions[version].document)
        return version, kind

    def _kind(self, node: Node, document: Document) -> Variant:
        """The kind of Envoy that a node is under a policy; found out once per stream."""
        stream = self.streams.of(node)
        known = stream.kinds.get(document.version) if stream else None
        if known is None:
            known = variant_of(node, group_of(document.policy, node))
            if stream is not None:
                stream.kinds[document.version] = known
        return known

    def _build(self, version: str, variant: Variant) -> Build:
        held = self._versions[version]
        found = held.builds.get(variant)
        if found is None:
            # With a memo of its own: the shared one may be at work in a thread.
            found = build(held.inputs, variant, self._messages, Memo())
            self._install(held, variant, found)
        return found

    def _install(self, held: _Version, variant: Variant, made: Build) -> None:
        while len(held.builds) >= MAX_VARIANTS:
            oldest = next(iter(held.builds))
            del held.builds[oldest]
            self._memos.pop(oldest, None)
            self._effective.pop((held.document.version, oldest), None)
        held.builds[variant] = made

    def _is_delegated(self, version: str, variant: Variant) -> bool:
        """Whether a build is missing that is too long for the event loop; it is under way then."""
        held = self._versions[version]
        if self.delegate is None or variant in held.builds or held.inputs.size <= INLINE_ENDPOINTS:
            return False
        if (version, variant) not in self._under_way:
            self._under_way.add((version, variant))
            inputs = held.inputs
            self.delegate(lambda: self._done_elsewhere(version, variant, inputs))
        return True

    def _done_elsewhere(self, version: str, variant: Variant, inputs: Inputs) -> Callable[[], None]:
        """Runs in a thread and touches nothing; what it returns is for the event loop."""
        try:
            made = build(inputs, variant, self._messages, Memo())
        except Exception:
            self._under_way.discard((version, variant))
            raise

        def install() -> None:
            self._under_way.discard((version, variant))
            held = self._versions.get(version)
            if held is not None:
                self._install(held, variant, _caught_up(made, inputs, held.inputs, variant, self._messages))

        return install

    def _served(self, version: str, variant: Variant) -> Effective:
        generated = self._build(version, variant).snapshot
        known = self._effective.get((version, variant))
        if known is not None and known[0] is generated and known[1] == self.quarantine.revision:
            return known[2]
        last_good = self._last_good(version, variant) if self.quarantine.rejections() else None
        effective = self.quarantine.effective(_scope(variant), variant, generated, last_good)
        if known is not None and known[2].snapshot.versions == effective.snapshot.versions:
            effective = replace(effective, snapshot=known[2].snapshot)
        self._effective[version, variant] = (generated, self.quarantine.revision, effective)
        return effective

    def _last_good(self, version: str, variant: Variant) -> Snapshot | None:
        accepted = self.rollout.last_accepted(variant.group) or self.rollout.stable
        if accepted == version or accepted not in self._versions:
            return None
        return self._build(accepted, variant).snapshot

    def _in_use(self) -> Iterator[tuple[str, Variant]]:
        pairs = {(stream.version, stream.variant): None for stream in self.streams if stream.variant is not None}
        for version, variant in pairs:
            if variant is not None and version in self._versions:
                yield version, variant
        if not pairs:
            yield self.document.version, PLAIN

    def _group_accepted(self, stream: LiveStream, variant: Variant) -> None:
        """A stream has all that it was offered: if that is true of its whole group, the version is good."""
        group, version = variant.group, stream.version
        if self.rollout.accepted.get(group) == version:
            return
        generated = self._build(version, variant).snapshot
        if stream.offered is not generated:
            return  # something of it was refused: this version is not good as a whole
        self.quarantine.settle(_scope(variant), variant, generated)
        members = [other for other in self.streams if other.variant and other.variant.group == group]
        if all(other.version == version and other.has_all() for other in members):
            self.rollout.group_accepted(group, version)
            self._prune()
            self.accepted(version)

    def _is_new_in_candidate(self, stream: LiveStream, type_url: str, resources: Mapping[str, str]) -> bool:
        """Whether the candidate brought any of these, rather than a change that the rest has been given, too."""
        assert stream.variant is not None, "asked by the caller"
        now = self._build(stream.version, stream.variant).snapshot.resources(type_url)
        before = self._build(self.rollout.stable, self._kind(stream.node, self.stable)).snapshot.resources(type_url)
        return any(
            name in now and now[name].version == version and (name not in before or before[name].version != version)
            for name, version in resources.items()
        )

    def _refuse_candidate(self, stream: LiveStream, type_url: str, resources: Mapping[str, str], text: str) -> None:
        places = [place for name in sorted(resources) for place in self.places(name, type_url)]
        where = f"{places[0]}: " if places else ""
        reason = f"{where}{stream.node.id} refused {short_name(type_url)} {', '.join(sorted(resources))}: {text}"
        log.error("rollout of %s rolled back: %s", self.rollout.candidate, reason)
        self.rollout.refuse(reason)

    def _go_back(self, stream: LiveStream, type_url: str, text: str) -> bool:
        assert stream.variant is not None, "asked by the caller"
        reason = f"{stream.node.id} refused {short_name(type_url)} and did not say what of it: {text}"
        if not self.rollout.go_back(stream.variant.group, stream.version, reason):
            return False
        log.error("group %s rolled back: %s", stream.variant.group, reason)
        return True

    def _quarantine(
        self, stream: LiveStream, type_url: str, resources: Mapping[str, str], text: str, *, is_suspect: bool
    ) -> None:
        assert stream.variant is not None, "asked by the caller"
        for name, version in resources.items():
            rejected = Rejected(
                scope=_scope(stream.variant),
                type_url=type_url,
                name=name,
                version=version,
                error=text,
                policy=stream.version,
                is_suspect=is_suspect,
            )
            if self.quarantine.reject(rejected):
                if rejected.is_local:
                    stream.local.append(rejected)
                places = self.places(name, type_url)
                where = f"{places[0]}: " if places else ""
                log.error("%s%s %s is in quarantine: %s", where, short_name(type_url), name, text)

    def _prune(self) -> None:
        """Lets go of versions and of kinds of Envoys that nobody has any more."""
        needed = self.rollout.needed()
        self._versions = {version: held for version, held in self._versions.items() if version in needed}
        self._effective = {key: value for key, value in self._effective.items() if key[0] in needed}
        for stream in self.streams:
            stream.kinds = {version: kind for version, kind in stream.kinds.items() if version in needed}
        variants = {variant for held in self._versions.values() for variant in held.builds}
        self._memos = {variant: memo for variant, memo in self._memos.items() if variant in variants}
        self.quarantine.keep_places(frozenset((_scope(variant), variant) for variant in variants))


def _scope(variant: Variant) -> tuple[object, str]:
    """What decides whether an Envoy takes a message: its build, and the group it is in."""
    return variant.capabilities, variant.group


def _is_same_pool(name: str, policy: Policy, newest: Policy) -> bool:
    """Whether both declare the same endpoints for a pool."""
    one, other = (next((pool.endpoints for pool in p.pools if pool.name == name), None) for p in (policy, newest))
    return one is not None and one == other


def _caught_up(made: Build, then: Inputs, now: Inputs, variant: Variant, messages: Messages) -> Build:
    """A build with the endpoints that have changed while it was made."""
    before, after = then.fleet.pools, now.fleet.pools
    pools = [name for name in after if after[name] is not before.get(name)]
    return with_assignments(made, assignments(now.document.policy, pools, now.fleet, variant, messages))


def _still_true(new: NewEndpoints, now: Fleet) -> Assignments:
    """Without the pools whose endpoints have changed again since."""
    gone = {cluster_name(pool) for pool, endpoints in new.fleet.pools.items() if now.pools.get(pool) is not endpoints}
    made = new.assignments
    if gone.isdisjoint({*made.resources, *made.errors}):
        return made
    return Assignments(
        {name: resource for name, resource in made.resources.items() if name not in gone},
        {name: error for name, error in made.errors.items() if name not in gone},
    )
