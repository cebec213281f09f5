"""The versions of the policy that are in use, each compiled once for each kind of Envoy.

Which of them are in use is up to the rollout; who gets which is in `offers`. Only kinds of Envoys that are connected
are compiled for; another one is compiled for when it comes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from control_plane.compile import MESSAGE_OF_KIND, Node
from control_plane.compile.names import cluster_name
from control_plane.policy import Document
from control_plane.sidecar.builds import Build, Inputs, Variant, build, caught_up, variant_of
from control_plane.xds.quarantine import Effective
from control_plane.xds.rollout import Rollout
from control_plane.xds.snapshot import Memo, Snapshot
from protos.messages import TYPE_URL_PREFIX, Messages

MAX_VARIANTS = 256
"""Different (capabilities, region, zone, group) kept compiled per version: one per kind of Envoy, and far more than one
control plane sees. A client that invents localities must not fill the memory; past the bound the oldest is compiled
anew."""

INLINE_ENDPOINTS = 1_000
"""Endpoints up to which a build for one more kind of Envoy is made on the event loop: some 20 ms at the most. With more
it is made in a thread, so that no pick waits for it."""

_KINDS = {TYPE_URL_PREFIX + message: kind for kind, message in MESSAGE_OF_KIND.items()}

PLAIN = variant_of(Node(id=""))
"""An Envoy that tells nothing of itself: always compiled for, so that an error shows before anybody asks."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A document that was compiled for every kind of Envoy in use."""

    inputs: Inputs
    builds: Mapping[Variant, Build]


@dataclass(slots=True)
class Version:
    """One version of the policy. Mutable: the inputs' fleet and materials, the builds, and what is served of them."""

    inputs: Inputs
    builds: dict[Variant, Build]
    effective: dict[Variant, tuple[Snapshot, int, Effective]] = field(default_factory=dict)
    """What was made of a build's snapshot in which revision of the quarantine; written by `offers`."""

    @property
    def document(self) -> Document:
        return self.inputs.document


class Versions:
    """Mutable: the versions, what a compilation leaves behind for the next one, the builds that are under way; all on
    one event loop, but for `compiled`, which may run in a thread."""

    def __init__(self, messages: Messages, rollout: Rollout) -> None:
        """Empty: `add` the version that `rollout` begins with before anything is asked.

        Assign `delegate` for builds that are too long for the event loop: it has a job done elsewhere, calls what that
        returns, and publishes.
        """
        self._messages = messages
        self._rollout = rollout
        self._by_name: dict[str, Version] = {}
        self._memos: dict[Variant, Memo] = {}
        self._under_way: set[tuple[str, Variant]] = set()
        self.delegate: Callable[[Callable[[], Callable[[], None]]], None] | None = None

    @property
    def newest(self) -> Version:
        """The newest that is being served, if only to some."""
        return self._by_name[self._rollout.candidate or self._rollout.stable]

    @property
    def stable(self) -> Version:
        """That of all Envoys which are not asked first."""
        return self._by_name[self._rollout.stable]

    def get(self, name: str) -> Version | None:
        """The version, if it is in use."""
        return self._by_name.get(name)

    def __getitem__(self, name: str) -> Version:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Version]:
        return iter(self._by_name.values())

    def add(self, proposal: Proposal) -> None:
        """It is in use from now on, also in place of what was compiled from the same policy before."""
        name = proposal.inputs.document.version
        known = self._by_name.get(name)
        self._by_name[name] = Version(proposal.inputs, dict(proposal.builds), known.effective if known else {})

    def prune(self) -> None:
        """Lets go of the versions that nobody has any more, and of kinds of Envoys that no other version has."""
        needed = self._rollout.needed()
        self._by_name = {name: version for name, version in self._by_name.items() if name in needed}
        variants = self.variants()
        self._memos = {variant: memo for variant, memo in self._memos.items() if variant in variants}

    def variants(self) -> set[Variant]:
        """All kinds of Envoys that something is compiled for."""
        return {variant for version in self for variant in version.builds}

    # Builds

    def compiled(
        self, inputs: Inputs, variants: Collection[Variant], last: Mapping[Variant, Snapshot] | None = None
    ) -> Proposal:
        """Compiles for these kinds of Envoys, and raises what the compiler raises; `last` is what was served so far."""
        builds = {}
        for variant in variants:
            memo = self._memos.setdefault(variant, Memo())
            builds[variant] = build(inputs, variant, self._messages, memo, (last or {}).get(variant))
        return Proposal(inputs, builds)

    def build(self, name: str, variant: Variant) -> Build:
        """The build of a version for a kind of Envoy; made now if there is none."""
        version = self._by_name[name]
        found = version.builds.get(variant)
        if found is None:
            # With a memo of its own: the shared one may be at work in a thread.
            found = build(version.inputs, variant, self._messages, Memo())
            self._install(version, variant, found)
        return found

    def is_delegated(self, name: str, variant: Variant) -> bool:
        """Whether a build is missing that is too long for the event loop; it is under way then."""
        version = self._by_name[name]
        if self.delegate is None or variant in version.builds or version.inputs.size <= INLINE_ENDPOINTS:
            return False
        if (name, variant) not in self._under_way:
            self._under_way.add((name, variant))
            inputs = version.inputs
            self.delegate(lambda: self._done_elsewhere(name, variant, inputs))
        return True

    def _done_elsewhere(self, name: str, variant: Variant, inputs: Inputs) -> Callable[[], None]:
        """Runs in a thread and touches nothing; what it returns is for the event loop."""
        try:
            made = build(inputs, variant, self._messages, Memo())
        except Exception:
            self._under_way.discard((name, variant))
            raise

        def install() -> None:
            self._under_way.discard((name, variant))
            version = self._by_name.get(name)
            if version is not None:
                self._install(version, variant, caught_up(made, inputs, version.inputs, variant, self._messages))

        return install

    def _install(self, version: Version, variant: Variant, made: Build) -> None:
        while len(version.builds) >= MAX_VARIANTS:
            oldest = next(iter(version.builds))
            del version.builds[oldest]
            version.effective.pop(oldest, None)
            self._memos.pop(oldest, None)
        version.builds[variant] = made

    # Where it comes from

    def places(self, resource: str, type_url: str = "") -> list[str]:
        """Where the policy says what became the resources of this name, as `file:line:column`; of one type."""
        kind, newest = _KINDS.get(type_url, ""), self.newest
        found: dict[str, None] = {}
        for version in (newest, *(other for other in self if other is not newest)):
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
        document = self.newest.document
        name = next((pool.name for pool in document.policy.pools if cluster_name(pool.name) == cluster), "")
        mark = document.mark(f"pools.{name}")
        return str(mark) if mark else ""
