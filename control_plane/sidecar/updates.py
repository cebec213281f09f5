"""What changes in the builds without another policy: endpoints that discovery found, and contents of files.

The lane of the endpoints makes only the assignments of the pools that changed, and waits for no compilation. Each work
comes in two parts: a job, which may run in a thread and touches nothing, and what takes its result on the event loop.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from control_plane.compile.materials import Materials, materials_of
from control_plane.compile.names import cluster_name
from control_plane.fleet.model import Endpoint, Fleet
from control_plane.policy.model import Policy
from control_plane.sidecar.builds import Assignments, Inputs, Variant, assignments, build, caught_up, with_assignments
from control_plane.sidecar.versions import Version, Versions
from control_plane.xds.snapshot import Memo
from protos.messages import Messages


@dataclass(frozen=True, slots=True)
class NewEndpoints:
    """New assignments for one kind of Envoy under one version, made from `fleet`."""

    version: str
    variant: Variant
    fleet: Fleet
    assignments: Assignments


class Updates:
    """Writes the inputs and the builds of `Versions`."""

    def __init__(self, versions: Versions, messages: Messages) -> None:
        self._versions = versions
        self._messages = messages

    def prepare_endpoints(self, fleet: Fleet, pools: Collection[str]) -> Callable[[], Sequence[NewEndpoints]]:
        """The job of making other endpoints for these pools, for each kind of Envoy in use; `apply_endpoints` takes
        what it gives. The fleet counts from now on.

        A version in which such a pool is declared otherwise than in the newest keeps the endpoints that it had, in the
        state in which the newest has them: who drains does so under every policy.
        """
        newest = self._versions.newest.document.policy
        tasks: list[tuple[str, Policy, frozenset[str], Fleet, tuple[Variant, ...]]] = []
        for version in self._versions:
            policy = version.document.policy
            known = version.inputs.fleet.pools
            changed = {}
            for pool in pools:
                had, found = known.get(pool, ()), fleet.pools.get(pool, ())
                if policy is newest or _is_same_pool(pool, policy, newest):
                    changed[pool] = found
                elif (restated := _restated(had, found)) != had:
                    changed[pool] = restated
            wanted = frozenset(changed)
            if wanted:
                merged = Fleet(pools={**known, **changed})
                version.inputs = replace(version.inputs, fleet=merged)
                tasks.append((version.document.version, policy, wanted, merged, tuple(version.builds)))
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

    def prepare_materials(self, materials: Materials) -> Callable[[], Callable[[], None]]:
        """The job of compiling everything anew with other contents of files, which gives what is to be done here in the
        end. What only an older policy names stays."""
        tasks: list[tuple[Version, Variant, Inputs]] = []
        for version in self._versions:
            merged = materials_of({**dict(version.inputs.materials.files), **dict(materials.files)})
            version.inputs = replace(version.inputs, materials=merged)
            tasks += [(version, variant, version.inputs) for variant in version.builds]

        def work() -> Callable[[], None]:
            made = [(*task, build(task[2], task[1], self._messages, Memo())) for task in tasks]

            def install() -> None:
                for version, variant, inputs, one in made:
                    if variant in version.builds and version.inputs.materials == inputs.materials:
                        version.builds[variant] = caught_up(one, inputs, version.inputs, variant, self._messages)

            return install

        return work


def _restated(endpoints: Sequence[Endpoint], found: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """`endpoints` in the state of those of the same address that were found."""
    now = {endpoint.address: endpoint for endpoint in found}
    return tuple(
        replace(
            each,
            health=now[each.address].health,
            inferred=now[each.address].inferred,
            shares=now[each.address].shares,
        )
        if each.address in now
        else each
        for each in endpoints
    )


def _is_same_pool(name: str, policy: Policy, newest: Policy) -> bool:
    """Whether both declare the same endpoints for a pool."""
    one, other = (next((pool.endpoints for pool in p.pools if pool.name == name), None) for p in (policy, newest))
    return one is not None and one == other


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
