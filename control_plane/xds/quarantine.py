"""Resources that an Envoy refused, and what is served in their place. Pure.

One bad resource must not freeze the rest: of a snapshot in which some resources were refused everything else is served,
and for each of those the last content that an Envoy of the same kind accepted, or what the last good policy has under
that name, or nothing. Routes that were held back may lead to clusters that the new snapshot does not have any more; so
what the accepted snapshot had of these stays as long.

"Of the same kind" is a `scope`: what decides whether Envoy takes a message is its build, not its place. Contents that
depend on the place are kept by `place`, which is finer. Both are any hashable values.

A content that one Envoy has accepted is not held against another one that refuses it: that is this Envoy's own trouble,
and its stream alone goes without it. Where Envoy blames its own machine (`is_local`: a port that is taken), others are
spared the content only if there is something to serve instead, and only as long as that Envoy is connected: the next
try may succeed.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from control_plane.xds.kinds import LISTENERS, ROUTES, RUNTIME
from control_plane.xds.snapshot import Resource, Snapshot, content_version

MAX_REJECTED = 1_024
"""Refused contents remembered; each costs its error text. Beyond it the oldest is forgotten, and refused again."""

_LOCAL = (
    "cannot bind",
    "cannot listen",
    "address already in use",
    "permission denied",
    "unable to read file",
    "file not exist",
    "no such file",
    "failed to load certificate chain from",
)
"""What Envoy says, in lower case, when its own machine is the reason: the next Envoy, or the next try, may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One content that was refused; `version` is the hash of the content, `policy` the version it came with."""

    scope: Hashable
    type_url: str
    name: str
    version: str
    error: str
    policy: str
    is_suspect: bool = False
    """Whether it was only among those that a refused response carried: forgotten with the next policy."""

    @property
    def is_local(self) -> bool:
        """Whether Envoy blames its own machine and not what it was sent."""
        text = self.error.lower()
        return any(cause in text for cause in _LOCAL)

    @property
    def key(self) -> "_Content":
        """What it is known by."""
        return self.scope, self.type_url, self.name, self.version


@dataclass(frozen=True, slots=True)
class Held:
    """A resource that a snapshot has and an Envoy is not given; `instead` is `last good` or `left out`."""

    rejected: Rejected
    instead: str


@dataclass(frozen=True, slots=True)
class Effective:
    """What is served in place of a snapshot."""

    snapshot: Snapshot
    held: tuple[Held, ...] = ()


_REFERRING = (LISTENERS, ROUTES)
"""Types whose resources name others."""

LAST_GOOD = "last good"
LEFT_OUT = "left out"

_Key = tuple[str, str]
_Content = tuple[Hashable, str, str, str]


@dataclass(slots=True)
class Quarantine:
    """Mutable: both tables, by these methods only. `revision` changes with whatever may change an answer."""

    revision: int = 0
    _rejected: dict[_Content, Rejected] = field(default_factory=dict)
    _proven: dict[Hashable, dict[Hashable, dict[_Key, Resource]]] = field(default_factory=dict)
    """Scope → place → what was accepted there last."""

    def accept(self, scope: Hashable, place: Hashable, type_url: str, resources: Mapping[str, Resource]) -> None:
        """An Envoy has accepted these."""
        proven = self._proven.setdefault(scope, {}).setdefault(place, {})
        for name, resource in resources.items():
            proven[type_url, name] = resource
            if self._rejected.pop((scope, type_url, name, resource.version), None):
                self.revision += 1

    def settle(self, scope: Hashable, place: Hashable, snapshot: Snapshot) -> None:
        """An Envoy has accepted all of `snapshot`: what was accepted there before and is not in it is forgotten."""
        everything = {(type_url, resource.name): resource for type_url, resource in _resources(snapshot)}
        self._proven.setdefault(scope, {})[place] = everything

    def reject(self, rejected: Rejected) -> bool:
        """An Envoy has refused a content; False if another one has accepted it, so that it is not held against it."""
        if self.is_accepted(rejected.scope, rejected.type_url, rejected.name, rejected.version):
            return False
        self._rejected.setdefault(rejected.key, rejected)
        while len(self._rejected) > MAX_REJECTED:
            del self._rejected[next(iter(self._rejected))]
        self.revision += 1
        return True

    def is_accepted(self, scope: Hashable, type_url: str, name: str, version: str) -> bool:
        """Whether this content is what some place of the scope accepted last under the name."""
        return any(
            (found := proven.get((type_url, name))) is not None and found.version == version
            for proven in self._proven.get(scope, {}).values()
        )

    def is_rejected(self, scope: Hashable, type_url: str, resource: Resource) -> bool:
        """Whether this content was refused."""
        return (scope, type_url, resource.name, resource.version) in self._rejected

    def rejections(self) -> tuple[Rejected, ...]:
        """All that is remembered, oldest first."""
        return tuple(self._rejected.values())

    def forget_suspects(self) -> None:
        """A new policy: what was only among the carried gets another chance."""
        self._forget([key for key, rejected in self._rejected.items() if rejected.is_suspect])

    def forget(self, rejections: Iterable[Rejected]) -> None:
        """These count no more."""
        self._forget([rejected.key for rejected in rejections if rejected.key in self._rejected])

    def forget_all(self) -> None:
        """The operator insists."""
        self._forget(list(self._rejected))

    def keep_places(self, places: frozenset[tuple[Hashable, Hashable]]) -> None:
        """Forgets what was accepted at other (scope, place) than these, so that invented places do not add up."""
        for scope in list(self._proven):
            kept = {place: proven for place, proven in self._proven[scope].items() if (scope, place) in places}
            if kept:
                self._proven[scope] = kept
            else:
                del self._proven[scope]

    def _forget(self, keys: list[_Content]) -> None:
        for key in keys:
            del self._rejected[key]
        self.revision += bool(keys)

    def effective(self, scope: Hashable, place: Hashable, generated: Snapshot, last_good: Snapshot | None) -> Effective:
        """What an Envoy gets in place of `generated`; the same object where nothing of it was refused."""
        if not self._rejected:
            return Effective(generated)
        proven = self._proven.get(scope, {}).get(place, {})
        types = {type_url: dict(resources) for type_url, resources in generated.types.items()}
        held = []
        for type_url, resource in _resources(generated):
            rejected = self._rejected.get((scope, type_url, resource.name, resource.version))
            if rejected is None:
                continue
            instead = self._replacement(scope, type_url, resource.name, proven, last_good)
            if instead is not None:
                types[type_url][resource.name] = instead
            elif rejected.is_local:
                continue
            else:
                del types[type_url][resource.name]
            held.append(Held(rejected, LEFT_OUT if instead is None else LAST_GOOD))
        if not held:
            return Effective(generated)
        if any(entry.instead == LAST_GOOD and entry.rejected.type_url in _REFERRING for entry in held):
            self._keep_referenced(scope, types, proven, last_good)
        return Effective(_snapshot(types, generated), tuple(held))

    def _replacement(
        self, scope: Hashable, type_url: str, name: str, proven: Mapping[_Key, Resource], last_good: Snapshot | None
    ) -> Resource | None:
        sources = (proven.get((type_url, name)), last_good.resources(type_url).get(name) if last_good else None)
        return next((found for found in sources if found and not self.is_rejected(scope, type_url, found)), None)

    def _keep_referenced(
        self,
        scope: Hashable,
        types: dict[str, dict[str, Resource]],
        proven: Mapping[_Key, Resource],
        last_good: Snapshot | None,
    ) -> None:
        """What an older listener or route may lead to stays with it; rather too much is kept than too little."""
        older = list(_resources(last_good)) if last_good else []
        for type_url, resource in (*((url, found) for (url, _), found in proven.items()), *older):
            is_wanted = type_url in types and type_url not in (LISTENERS, RUNTIME)
            if is_wanted and not self.is_rejected(scope, type_url, resource):
                types[type_url].setdefault(resource.name, resource)


def _resources(snapshot: Snapshot) -> Iterator[tuple[str, Resource]]:
    for type_url, resources in snapshot.types.items():
        for resource in resources.values():
            yield type_url, resource


def _snapshot(types: Mapping[str, dict[str, Resource]], generated: Snapshot) -> Snapshot:
    changed = {url: resources for url, resources in types.items() if resources != generated.types[url]}
    return Snapshot(
        MappingProxyType(
            {url: MappingProxyType(changed[url]) if url in changed else generated.types[url] for url in types}
        ),
        MappingProxyType(
            {url: content_version(changed[url]) if url in changed else generated.versions[url] for url in types}
        ),
    )
