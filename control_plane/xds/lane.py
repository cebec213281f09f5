"""One resource type on one stream: what the client wants, what it holds, and what it is owed. Pure.

The two variants of the protocol (`sotw`, `delta`) differ in how a request changes a lane and in what a response
carries; everything that they have in common is here.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from control_plane.xds.snapshot import Resource, version_of
from control_plane.xds.subscription import Subscription

MAX_ERROR_CHARS = 4_096
"""Kept of a client's error text: Envoy repeats the whole resource in some of them, and status shows them."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response that the client has not answered: nonce, version, the resources in it (name to version), and whether
    it was `complete`, so that nothing can be left out of it."""

    nonce: str
    version: str
    carried: Mapping[str, str]
    complete: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """What is refused: the version of the last NACK, the client's text, and which resources the text names."""

    version: str
    text: str
    resources: tuple[str, ...]


@dataclass(slots=True)
class Lane:
    """The state of one type. Mutable: all fields; written by the session that owns it and by its dialect."""

    type_url: str
    subscription: Subscription = field(default_factory=Subscription)
    held: dict[str, str] = field(default_factory=dict)
    """What the client has been sent or says it holds, name to version; rejected versions included, which is what keeps
    them from being sent again before their content changes."""
    owed: set[str] = field(default_factory=set)
    """Names that are to be answered even if what is held is current: newly subscribed, or asked for again."""
    forced: set[str] = field(default_factory=set)
    """Names to send even unasked: endpoints of clusters just sent, which warm until they arrive."""
    answer_due: bool = False
    """The client waits for a response even if there is nothing to put into it."""
    claim: str | None = None
    """SotW: the version that the first request named, until it has been compared."""
    parked: dict[str, str] = field(default_factory=dict)
    """Rejected versions by name, until the name has other content."""
    in_flight: InFlight | None = None
    nonce: str = ""
    """Of the last response of this type on this stream."""
    dirty: bool = True
    """Something changed since it was last worked out what is to be sent."""
    refreshed: bool = False
    """The snapshot has changed in this type since it was last worked out what is to be sent."""
    withheld: bool = False
    """Delta: removals wait until nothing refers to them."""
    waiting_since: float | None = None
    """When it was first held back because clusters were not confirmed yet (seconds of the caller's clock)."""
    clusters_changed: bool = False
    """Endpoints: clusters were pushed since the last push of this type."""
    sent: str = ""
    acked: str = ""
    rejection: Rejection | None = None
    pushes: int = 0
    acks: int = 0
    nacks: int = 0

    def settle(self, error: str | None) -> None:
        """The client answered the response in flight: an ACK, or with `error` a NACK, which parks what it rejects."""
        answered, self.in_flight = self.in_flight, None
        assert answered is not None, "settle is called for a matching nonce only"
        if error is None:
            self.acks += 1
            self.acked = answered.version
            if not self.parked:
                self.rejection = None
        else:
            self.nacks += 1
            self._reject(answered, error[:MAX_ERROR_CHARS])

    def _reject(self, answered: InFlight, text: str) -> None:
        bad = named_in(text, answered.carried)
        parked = set(answered.carried if answered.complete or not bad else bad)
        self.parked.update({name: answered.carried[name] for name in parked})
        # One bad resource must not freeze those that came with it: they go out again without it. Each round parks one
        # at least, so this ends.
        for name in answered.carried.keys() - parked:
            self.held.pop(name, None)
            self.dirty = True
        before = self.rejection
        if before is not None and any(
            name in self.parked and name not in answered.carried for name in before.resources
        ):
            text = f"{before.text}\n{text}"[:MAX_ERROR_CHARS]
            bad = tuple(sorted({*(name for name in before.resources if name in self.parked), *bad}))
        self.rejection = Rejection(answered.version, text, bad)

    def unpark_changed(self, wanted: Mapping[str, Resource]) -> bool:
        """Forgets rejections of what is gone or has other content now; whether the last of them was."""
        before = self.parked
        self.parked = {name: v for name, v in before.items() if name in wanted and wanted[name].version == v}
        return bool(before) and not self.parked

    def is_new(self) -> bool:
        """Whether the client holds nothing of the type yet, neither from this stream nor from an earlier one."""
        return not (self.nonce or self.claim or self.held)

    def is_answered(self) -> bool:
        """Whether the client has ever answered a response of the type on this stream."""
        return bool(self.acks or self.nacks)

    def forget_unwanted(self) -> None:
        """After a subscription shrank: the client drops what it no longer wants, so it counts as not held."""
        wants = self.subscription.wants
        self.held = {name: version for name, version in self.held.items() if wants(name)}
        self.owed = {name for name in self.owed if wants(name)}


@dataclass(frozen=True, slots=True)
class View:
    """What there is of one type for one stream.

    `everything` by name; `wanted`, the part that is subscribed; `counted`, the part of that which the version is of
    (endpoints of clusters on their way out are still answered, but no longer counted); `version`; `kept`, names whose
    removal is not to be told yet; `served`, whether the type is served at all; `removals`, whether any removal may be
    told now.
    """

    everything: Mapping[str, Resource]
    wanted: Mapping[str, Resource]
    counted: Mapping[str, Resource]
    version: str
    kept: Set[str]
    served: bool
    removals: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What a response carries; `complete` if it replaces all that the client holds."""

    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    complete: bool = False


R = TypeVar("R", contravariant=True)


class Dialect(Protocol[R]):
    """One variant of the protocol, for requests of type `R`."""

    @property
    def name(self) -> str:
        """`sotw` or `delta`."""

    def receive(self, lane: Lane, request: R, *, first: bool) -> None:
        """Takes a request into the lane; `first` on this stream for this type."""

    def compose(self, lane: Lane, view: View) -> Content | None:
        """What the client is owed now, None if nothing. Called only while nothing is in flight."""


def due_resources(lane: Lane, view: View) -> tuple[Resource, ...]:
    """Resources that differ from what is held, are owed, or are forced; and nothing is owed or forced any more."""
    due = [
        resource
        for name, resource in view.wanted.items()
        if lane.held.get(name) != resource.version or name in lane.owed or name in lane.forced
    ]
    due += (
        view.everything[name] for name in sorted(lane.forced) if name in view.everything and name not in view.wanted
    )
    lane.owed, lane.forced = set(), set()
    return tuple(due)


def pushed_version(lane: Lane, view: View, resources: Iterable[Resource]) -> str:
    """The version to write into a response that carries `resources`.

    It is that of everything wanted, because that is what the client then holds; but a parked resource that is not sent
    again counts as another, so that a client which reconnects with this version is not taken for one that accepted it.
    """
    parked = (lane.parked.keys() & view.counted.keys()) - {resource.name for resource in resources}
    if not parked:
        return view.version
    return version_of(
        (name, f"rejected {resource.version}" if name in parked else resource.version)
        for name, resource in view.counted.items()
    )


def named_in(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that occur in `text` as a whole word: not `pool/a` where the text says `pool/a-next`."""
    return tuple(
        name for name in names if name in text and re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-]|\.\w)", text)
    )
