"""From a policy and a fleet to the bytes for one kind of Envoy: compiled, serialised, and bad pools isolated.

Everything here may run in a thread: it works on immutable values, but for the `Memo`, which one build at a time uses.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from control_plane.compile import Capabilities, Compiled, Node, Services, capabilities, compile_snapshot
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.localities import Locality
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.compile.names import RUNTIME_RESOURCE, cluster_name
from control_plane.compile.patches import patched_resource
from control_plane.compile.runtime import runtime_layer
from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.policy.groups import DEFAULT_GROUP
from control_plane.policy.model import Policy
from control_plane.xds.errors import ResourceError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, RUNTIME
from control_plane.xds.quarantine import LAST_GOOD, LEFT_OUT
from control_plane.xds.snapshot import Memo, Resource, Snapshot, build_snapshot, content_version
from protos.messages import Messages


@dataclass(frozen=True, slots=True)
class Variant:
    """What a compiled snapshot depends on beside policy and fleet: equal variants share one snapshot."""

    capabilities: Capabilities
    region: str
    zone: str
    group: str = DEFAULT_GROUP


def variant_of(node: Node, group: str = DEFAULT_GROUP) -> Variant:
    """The part of a node that its configuration depends on."""
    return Variant(capabilities(node), node.region, node.zone, group)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that goes into the builds of one version of the policy."""

    document: Document
    fleet: Fleet
    services: Services
    materials: Materials = NO_MATERIALS

    @property
    def size(self) -> int:
        """How many endpoints there are: what a build takes its time for."""
        return sum(map(len, self.fleet.pools.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A resource that could not be made; `instead` says what there is in its place."""

    type_url: str
    name: str
    error: str
    instead: str


@dataclass(frozen=True, slots=True)
class Build:
    """The snapshot for one variant. `provenance` maps (kind, name) to paths in the policy."""

    snapshot: Snapshot
    provenance: Mapping[tuple[str, str], str]
    left_out: tuple[str, ...]
    failures: tuple[Failure, ...] = ()


def build(inputs: Inputs, variant: Variant, messages: Messages, memo: Memo, last: Snapshot | None = None) -> Build:
    """The build of `inputs` for `variant`; `last` is what served so far, for pools that cannot be built now.

    Raises what the compiler raises for anything but a pool.
    """
    compiled = compile_snapshot(
        inputs.document.policy,
        inputs.fleet,
        inputs.services,
        variant.capabilities,
        variant.region,
        variant.zone,
        group=variant.group,
        materials=inputs.materials,
        isolate=True,
    )
    tables = _tables(compiled, inputs.document.policy)
    errors = {cluster_name(pool): error for pool, error in compiled.failures.items()}
    try:
        snapshot = build_snapshot(tables, messages, memo)
    except ResourceError:
        errors |= _unbuildable(tables, messages)
        if not errors.keys() & tables[CLUSTERS].keys():
            raise  # it was no pool
        good = {url: _without(table, errors) if url in _OF_POOLS else table for url, table in tables.items()}
        snapshot = build_snapshot(good, messages, memo)
    failures: list[Failure] = []
    for name, error in errors.items():
        snapshot = _with_last(snapshot, last, name)
        instead = LAST_GOOD if name in snapshot.resources(CLUSTERS) else LEFT_OUT
        failures.append(Failure(type_url=CLUSTERS, name=name, error=error, instead=instead))
    return Build(snapshot, compiled.provenance, compiled.left_out, tuple(failures))


_OF_POOLS = (CLUSTERS, ENDPOINTS)


def _tables(compiled: Compiled, policy: Policy) -> dict[str, dict[str, dict[str, object]]]:
    tables = compiled.by_type_url()
    # An Envoy whose bootstrap asks for it waits for it.
    tables[RUNTIME] = tables[RUNTIME] or {RUNTIME_RESOURCE: runtime_layer(policy)}
    return tables


def _unbuildable(tables: Mapping[str, Mapping[str, Mapping[str, object]]], messages: Messages) -> dict[str, str]:
    """Names of clusters and assignments that are no messages of their type, and why."""
    found = {}
    for type_url in _OF_POOLS:
        for name, value in tables[type_url].items():
            try:
                build_snapshot({type_url: {name: value}}, messages)
            except ResourceError as error:
                found[name] = str(error)
    return found


def _without(table: Mapping[str, dict[str, object]], names: Collection[str]) -> dict[str, dict[str, object]]:
    return {name: value for name, value in table.items() if name not in names}


def _with_last(snapshot: Snapshot, last: Snapshot | None, name: str) -> Snapshot:
    for type_url in _OF_POOLS if last is not None else ():
        known = last.resources(type_url).get(name) if last else None
        if known is not None:
            snapshot = with_resources(snapshot, type_url, {name: known})
    return snapshot


def with_resources(snapshot: Snapshot, type_url: str, changed: Mapping[str, Resource]) -> Snapshot:
    """`snapshot` with some resources of one type replaced or added; the same object if nothing differs."""
    before = snapshot.resources(type_url)
    if all(before.get(name) == resource for name, resource in changed.items()):
        return snapshot
    resources = MappingProxyType({**before, **changed})
    return Snapshot(
        MappingProxyType({**snapshot.types, type_url: resources}),
        MappingProxyType({**snapshot.versions, type_url: content_version(resources)}),
    )


@dataclass(frozen=True, slots=True)
class Assignments:
    """New assignments for one variant; `errors` has the pools that could not be compiled and keep what they had."""

    resources: Mapping[str, Resource]
    errors: Mapping[str, str]


def assignments(
    policy: Policy, pools: Collection[str], fleet: Fleet, variant: Variant, messages: Messages
) -> Assignments:
    """The assignments of some pools for one variant, and nothing else: the short way of a changed endpoint."""
    node = Locality(variant.region, variant.zone)
    resources: dict[str, Resource] = {}
    errors: dict[str, str] = {}
    for pool in policy.pools:
        if pool.name not in pools:
            continue
        name = cluster_name(pool.name)
        try:
            value = load_assignment(pool, fleet.pools.get(pool.name, ()), node)
            value = patched_resource("endpoints", name, value, policy)
            resources |= build_snapshot({ENDPOINTS: {name: value}}, messages).types[ENDPOINTS]
        except Exception as error:  # one bad pool must not freeze the rest
            errors[name] = f"{type(error).__name__}: {error}"
    return Assignments(resources, errors)


def with_assignments(made: Build, new: Assignments) -> Build:
    """`made` with new assignments. A pool that has no cluster there gets none."""
    known = made.snapshot.resources(CLUSTERS)
    resources = {name: resource for name, resource in new.resources.items() if name in known}
    settled = {*resources, *new.errors}
    failures = tuple(f for f in made.failures if f.type_url != ENDPOINTS or f.name not in settled)
    failures += tuple(
        Failure(type_url=ENDPOINTS, name=name, error=error, instead=LAST_GOOD) for name, error in new.errors.items()
    )
    return replace(made, snapshot=with_resources(made.snapshot, ENDPOINTS, resources), failures=failures)


def caught_up(made: Build, then: Inputs, now: Inputs, variant: Variant, messages: Messages) -> Build:
    """A build with the endpoints that have changed while it was made: from inputs as they were `then`."""
    before, after = then.fleet.pools, now.fleet.pools
    pools = [name for name in after if after[name] is not before.get(name)]
    return with_assignments(made, assignments(now.document.policy, pools, now.fleet, variant, messages))
