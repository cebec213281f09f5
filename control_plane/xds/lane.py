"""One resource type on one stream: what the client wants, what it holds, and what it is owed. Pure.

The two variants of the protocol (`sotw`, `delta`) differ in how a request changes a lane and in what a response
carries; everything that they have in common is here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from control_plane.xds.snapshot import Resource, version_of
from control_plane.xds.subscription import Subscription

# protobuf's mark of a text that is for debugging only, the message, and the colon before the reason.
_DUMP = re.compile(r"goo\.gle/debug\w*.*?\n: ", re.DOTALL)
# Envoy sends 4 KB at the most, and of a large resource that is not even all of the message.
_CUT = re.compile(r"goo\.gle/debug\w*.*\.\.\.\(truncated\)\s*\Z", re.DOTALL)
CUT_BY_ENVOY = "(Envoy repeats the whole resource and cuts off the reason; its own log has it)"

MAX_ERROR_CHARS = 4_096
"""Kept of a client's error text: Envoy repeats the whole resource in some of them, and status shows them."""


MAX_RESPONSE_BYTES = 3_500_000
"""Of resources in one response, where it can be divided: gRPC clients other than Envoy take 4 MiB unless told more."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response that the client has not answered: nonce, version, the resources in it (name to version), whether it
    was `complete`, so that nothing can be left out of it, and what it told as removed."""

    nonce: str
    version: str
    carried: Mapping[str, str]
    complete: bool
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """What is refused: the version of the last NACK, the client's text, and which resources the text names."""

    version: str
    text: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client said of resources (name to version): accepted, or with `error` rejected. `named` is whether the
    error names them; if not they are all that the response carried."""

    resources: Mapping[str, str]
    error: str | None = None
    named: bool = False


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
    answer: Answer | None = None
    """What the last request said, until the session takes it."""
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
            self.answer = Answer(answered.carried)
            if not self.parked:
                self.rejection = None
        else:
            self.nacks += 1
            self._reject(answered, shortened(error))

    def _reject(self, answered: InFlight, text: str) -> None:
        bad = named_in(text, answered.carried)
        offenders = {name: answered.carried[name] for name in bad or answered.carried}
        self.answer = Answer(offenders, text, named=bool(bad))
        parked = set(answered.carried if answered.complete or not bad else bad)
        self.parked.update({name: answered.carried[name] for name in parked})
        # One bad resource must not freeze those that came with it: they go out again without it. Each round parks one
        # at least, so this ends. What the client has of them is unknown until then, but it is something, so that one
        # which vanishes meanwhile is told as removed.
        for name in answered.carried.keys() - parked:
            self.held[name] = ""
            self.dirty = True
        # A client that rejects the whole may not have dropped anything either: told again, without what was bad. One
        # that rejects a mere removal is not told a second time.
        for name in answered.removed if answered.carried else ():
            self.held.setdefault(name, "")
            self.dirty = True
        before = self.rejection
        if before is not None and any(
            name in self.parked and name not in answered.carried for name in before.resources
        ):
            text = shortened(f"{before.text}\n{text}")
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
    """What a response carries; `complete` if it replaces all that the client holds; `later`, what is due as well and
    goes into the next response."""

    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    complete: bool = False
    later: frozenset[str] = frozenset()


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


def due_resources(lane: Lane, view: View) -> tuple[tuple[Resource, ...], frozenset[str]]:
    """Resources that differ from what is held, are owed, or are forced, as many as go into one response; and the names
    of those that have to wait for the next. The others are no longer owed or forced."""
    held, owed, forced = lane.held, lane.owed, lane.forced
    due = [
        resource
        for name, resource in view.wanted.items()
        if held.get(name) != resource.version or name in owed or name in forced
    ]
    due += (view.everything[name] for name in sorted(forced) if name in view.everything and name not in view.wanted)
    now = _fitting(due)
    later = frozenset(resource.name for resource in due[now:])
    lane.owed, lane.forced = owed & later, forced & later
    lane.dirty = lane.dirty or bool(later)
    return tuple(due[:now]), later


def _fitting(resources: Sequence[Resource]) -> int:
    """How many of them go into one response; at least one, for a resource cannot be divided."""
    size = 0
    for number, resource in enumerate(resources):
        size += len(resource.body)
        if size > MAX_RESPONSE_BYTES and number:
            return number
    return len(resources)


def pushed_version(lane: Lane, view: View, resources: Iterable[Resource], later: Set[str] = frozenset()) -> str:
    """The version to write into a response that carries `resources`, while others come `later`.

    It is that of everything wanted, because that is what the client then holds; but a resource that is still to come,
    or parked and not sent again, counts as another, so that a client which reconnects with this version is not taken
    for one that has all of it.
    """
    missing = later | (lane.parked.keys() & view.counted.keys()) - {resource.name for resource in resources}
    if not missing:
        return view.version
    return version_of(
        (name, f"not {resource.version}" if name in missing else resource.version)
        for name, resource in view.counted.items()
    )


def named_in(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that occur in `text` as a whole word: not `pool/a` where the text says `pool/a-next`."""
    return tuple(
        name for name in names if name in text and re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-]|\.\w)", text)
    )


def shortened(error: str) -> str:
    """An error text without the resources that Envoy repeats in it, which may be all of its 40 KB but the last line; of
    what is still too long the beginning, which names the resource, and the end, which says why."""
    text = _CUT.sub(CUT_BY_ENVOY, _DUMP.sub("", error))
    if len(text) <= MAX_ERROR_CHARS:
        return text
    half = MAX_ERROR_CHARS // 2 - 1
    return f"{text[:half]}…{text[-half:]}"
