"""What the xDS server serves: each version of the policy that is in use, compiled once for each kind of Envoy.

    loop = SlowLoop(messages, services, document, fleet)
    job = loop.prepare(new_document, new_fleet)       # here: what is to be done
    proposal = await asyncio.to_thread(job)           # there: the work; raises what the compiler raises
    loop.apply(proposal, now)                         # here again: who gets it is up to the rollout

Config and endpoints are two lanes: `prepare`/`apply` compile everything for a new document, `fleet_changed` makes
only the assignments of the pools that changed, and neither waits for the other.

Each part is a module of its own: `versions` (what is compiled), `updates` (what changes in it without another policy),
`offers` (who is offered what), `answers` (what follows from what Envoys say), `progress` (how far a candidate is),
`overview` (what is told of all that).
"""

import logging
from collections.abc import Callable, Collection

from control_plane.compile import Services
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.policy.groups import FIRST
from control_plane.sidecar.answers import Answers
from control_plane.sidecar.builds import Inputs
from control_plane.sidecar.offers import Offers
from control_plane.sidecar.overview import Overview
from control_plane.sidecar.progress import Progress
from control_plane.sidecar.streams import Streams
from control_plane.sidecar.updates import Updates
from control_plane.sidecar.versions import PLAIN, Proposal, Versions
from control_plane.xds.quarantine import Quarantine
from control_plane.xds.rollout import Event, Pace, Rollout
from protos.messages import Messages

log = logging.getLogger("kvpilot")


class SlowLoop:
    """Mutable: what its parts are; all on one event loop, but for the jobs of `prepare` and `updates`, which work on
    copies."""

    def __init__(
        self,
        messages: Messages,
        services: Services,
        document: Document,
        fleet: Fleet,
        materials: Materials = NO_MATERIALS,
    ) -> None:
        """Compiles `document` for a plain node at once, so that an error shows before anything is served.

        Assign `changed`: it is called when other snapshots are to be served than before, or the rollout has moved.
        """
        self._services = services
        self.changed: Callable[[], None] = lambda: None
        self.streams = Streams()
        self.quarantine = Quarantine()
        self.rollout = Rollout(document.version)
        self.versions = Versions(messages, self.rollout)
        self.updates = Updates(self.versions, messages)
        self.offers = Offers(self.versions, self.streams, self.rollout, self.quarantine)
        self.progress = Progress(self.rollout, self.streams)
        self.overview = Overview(self.versions, self.streams, self.rollout, self.offers, self.progress)
        self.answers = Answers(
            self.versions,
            self.streams,
            self.rollout,
            self.quarantine,
            self.offers,
            self.progress,
            changed=lambda: self.changed(),
        )
        self.versions.add(self.versions.compiled(Inputs(document, fleet, services, materials), (PLAIN,)))

    @property
    def document(self) -> Document:
        """The newest policy that is being served, if only to some."""
        return self.versions.newest.document

    @property
    def stable(self) -> Document:
        """The policy of all Envoys that are not asked first."""
        return self.versions.stable.document

    @property
    def fleet(self) -> Fleet:
        """The endpoints of `document`."""
        return self.versions.newest.inputs.fleet

    @property
    def kinds(self) -> int:
        """How many builds there are: so often a change of one pool is compiled."""
        return sum(len(version.builds) for version in self.versions)

    def inputs(self, version: str) -> Inputs | None:
        """What a version in use is compiled from."""
        found = self.versions.get(version)
        return found.inputs if found else None

    def prepare(self, document: Document, fleet: Fleet, materials: Materials | None = None) -> Callable[[], Proposal]:
        """The job of compiling `document` for every kind of Envoy that is connected; it changes nothing, and raises
        what the compiler raises."""
        kept = self.versions.newest.inputs.materials if materials is None else materials
        inputs = Inputs(document, fleet, self._services, kept)
        connected = (self.offers.kind(stream.node, document) for stream in self.streams)
        variants = tuple(dict.fromkeys((*connected, PLAIN)))
        last = {variant: made.snapshot for variant, made in self.versions.stable.builds.items()}
        return lambda: self.versions.compiled(inputs, variants, last)

    def propose(self, document: Document, fleet: Fleet) -> Proposal:
        """The same, at once."""
        return self.prepare(document, fleet)()

    def apply(self, proposal: Proposal, now: float = 0.0, *, force: bool = False) -> None:
        """Offers the document: to everybody, or first to the groups that go first. With `force` to everybody, and what
        was refused before gets another chance."""
        document = proposal.inputs.document
        self.versions.add(proposal)
        self.quarantine.revision += 1
        safety = document.policy.safety
        staged = not force and any(group.rollout == FIRST for group in document.policy.groups)
        if force:
            self.quarantine.forget_all()
        self.quarantine.forget_suspects()
        self.progress.begin(now)
        self.rollout.offer(document.version, Pace(staged=staged, soak_s=safety.soak_s, timeout_s=safety.timeout_s), now)
        self.offers.prune()

    def restore(self, proposal: Proposal) -> None:
        """An earlier policy that Envoys had accepted before this process began: what is served in place of a resource
        that is refused now."""
        version = proposal.inputs.document.version
        if version not in self.versions:
            self.versions.add(proposal)
        self.rollout.restored = version

    def fleet_changed(self, fleet: Fleet, pools: Collection[str]) -> None:
        """Other endpoints for these pools, made at once."""
        self.updates.apply_endpoints(self.updates.prepare_endpoints(fleet, pools)())

    def materials_changed(self, materials: Materials) -> None:
        """Other contents of the files that the newest policy names, compiled at once."""
        self.updates.prepare_materials(materials)()()

    def tick(self, now: float) -> Event | None:
        """Moves a rollout on; called regularly."""
        event = self.progress.look(now)
        if event is not None:
            log.info("rollout: %s (%s)", event.value, self.rollout.reason or self.rollout.stable)
            self.offers.prune()
            self.changed()
        return event
