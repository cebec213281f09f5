"""Drill file → values, with the place of everything; findings have the form and the codes of a policy's."""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.drills.model import MAX_REQUESTS, POD_FAULTS, PROCESS_FAULTS, Drill, Step
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import Diagnostic, Mark, quoted
from control_plane.policy.model import Policy
from control_plane.policy.one_block import read_block
from control_plane.policy.reader import Reader, nearest_mark

_ONLY = {
    "factor": ("slow",),
    "code": ("status",),
    "afterChunks": ("cut",),
    "xid": ("gpu",),
    "pause": ("stutter",),
    "count": ("restart",),
}
"""Key of a step → the faults that look at it."""

_WHERE = {"pods": "at", "zone": "in the zone", "pool": "in the pool"}

_WHOLE = ("hang", "die", "status")
"""Faults that may be those of a whole process."""


@dataclass(frozen=True, slots=True)
class DrillFile:
    """The drill of a file; `marks` has the place of each key, such as `steps.a pod dies.bounds.leavesWithin`."""

    drill: Drill
    marks: Mapping[str, Mark]

    def mark(self, path: str) -> Mark | None:
        """The place of `path`, or of the nearest thing above it that is written."""
        return nearest_mark(self.marks, path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod stands: its address in the policy, its pool and zone."""

    address: str
    pool: str
    zone: str


def read_drill(text: str, file: str) -> tuple[DrillFile | None, tuple[Diagnostic, ...]]:
    """The drill in `text`, None with findings where something is wrong. Never raises."""
    found, reader = read_block(text, file, Drill)
    if found is None:
        return None, reader.diagnostics()
    if found.load.rate * found.duration_s > MAX_REQUESTS:
        message = f"these are more than {MAX_REQUESTS:,} requests"
        reader.report_at("duration", Code.OUT_OF_BOUNDS, message, "a shorter `duration`, or a lower `rate`")
    for step in found.steps:
        _check_step(step, found, reader)
    return (None if reader.has_errors else DrillFile(found, reader.marks)), reader.diagnostics()


def _check_step(step: Step, drill: Drill, reader: Reader) -> None:
    path = f"steps.{step.name}"
    if step.at_s + (step.for_s or 0.0) >= drill.duration_s:
        reader.report_at(f"{path}.at", Code.CONTRADICTION, "the drill is over before the step is", "longer `duration`?")
    has_pods = bool(step.pods or step.zone or step.pool)
    if step.fault == "breakPolicy":
        is_wrong = has_pods or bool(step.process)
        wanted = "neither pods nor a process: the policy is one"
    elif step.fault in PROCESS_FAULTS:
        is_wrong = has_pods == bool(step.process)
        wanted = "either `pods`, `zone` or `pool`, or a `process`"
    else:
        is_wrong = not has_pods or bool(step.process)
        wanted = "`pods`, `zone` or `pool`, and no `process`"
    if is_wrong:
        reader.report_at(f"{path}.fault", Code.CONTRADICTION, f"`{step.fault}` needs {wanted}")
    if step.process in ("picker", "controlPlane") and not drill.apart:
        message = f"the {step.process} is no process of its own"
        reader.report_at(f"{path}.process", Code.CONTRADICTION, message, "say `apart: true`, or `process: kvpilot`")
    if step.process == "kvpilot" and drill.apart:
        message = "there are two processes of kvpilot"
        reader.report_at(f"{path}.process", Code.CONTRADICTION, message, "`picker` or `controlPlane`?")
    for key, faults in _ONLY.items():
        if step.fault not in faults:
            reader.report_idle(path, (key,), f"`{{key}}` does nothing with `{step.fault}`")
    if step.fault not in _WHOLE:
        reader.report_idle(path, ("everything",), f"`{{key}}` does nothing with `{step.fault}`")


def places_of(policy: Policy) -> tuple[Place, ...]:
    """The endpoints that the policy names by address."""
    return tuple(
        Place(endpoint.address, pool.name, endpoint.zone) for pool in policy.pools for endpoint in pool.static_endpoints
    )


def chosen(step: Step, places: tuple[Place, ...]) -> tuple[Place, ...]:
    """Whom a step is about."""
    return tuple(
        place
        for place in places
        if place.address in step.pods
        or (step.zone and place.zone == step.zone)
        or (step.pool and place.pool == step.pool)
    )


def unknown(file: DrillFile, places: tuple[Place, ...]) -> list[str]:
    """What steps say of pods that the policy does not have: `file:line:column: …`."""
    found: list[str] = []
    for step in file.drill.steps:
        path = f"steps.{step.name}"
        known = {
            "pods": [place.address for place in places],
            "zone": [place.zone for place in places],
            "pool": [place.pool for place in places],
        }
        said = [("pods", address) for address in step.pods]
        said += [(key, word) for key, word in (("zone", step.zone), ("pool", step.pool)) if word]
        for key, word in said:
            if word not in known[key]:
                place = file.mark(f"{path}.{key}[{step.pods.index(word)}]" if key == "pods" else f"{path}.{key}")
                found.append(f"{place}: the policy has no pod {_WHERE[key]} {quoted(word)}")
    return found


def forbidden(file: DrillFile, places: tuple[Place, ...]) -> list[str]:
    """What of the drill a staging fleet does not allow: `file:line:column: …`."""
    found: list[str] = []
    for step in file.drill.steps:
        path = f"steps.{step.name}"
        if step.fault not in POD_FAULTS:
            found.append(f"{file.mark(f'{path}.fault')}: `{step.fault}` is not possible with --target")
            continue
        refused = [place.address for place in chosen(step, places) if place.address not in file.drill.allow]
        if refused:
            found.append(f"{file.mark(path)}: `allow` has no URL for {', '.join(refused)}")
    return found
