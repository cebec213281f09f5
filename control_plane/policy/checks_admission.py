"""Rules about admission."""

from control_plane.policy.admission import Admission, AdmissionPriority
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Policy
from control_plane.policy.reader import BlockRule, Reader, names_text

_LIMITS = ("maxInFlight", "maxPrefillTokens", "maxKvUsage")


def _some_limit(admission: Admission, path: str, reader: Reader) -> None:
    if not any(f"{path}.{key}" in reader.marks for key in _LIMITS):
        message = "this admission has no limit: nobody ever waits"
        reader.report_at(path, Code.NO_EFFECT, message, f"add one of {names_text(_LIMITS)}, or remove it")


def _some_memory(admission: Admission, path: str, reader: Reader) -> None:
    if admission.max_kv_usage == 0:
        reader.report_at(f"{path}.maxKvUsage", Code.OUT_OF_BOUNDS, "0 % is not in 1..100: no endpoint is below it")


def _known_default(admission: Admission, path: str, reader: Reader) -> None:
    known = [priority.name for priority in admission.priorities]
    if admission.default_priority and admission.default_priority not in known:
        message = f"there is no priority {quoted(admission.default_priority)}"
        hint = f"there are {names_text(known)}" if known else "add `priorities`, or remove it"
        reader.report_at(f"{path}.defaultPriority", Code.UNKNOWN_REFERENCE, message, hint)


def _one_place_for_each(admission: Admission, path: str, reader: Reader) -> None:
    kinds: set[str] = set()
    models: set[str] = set()
    for index, priority in enumerate(admission.priorities):
        for key, names, seen in (("kinds", priority.kinds, kinds), ("models", priority.models, models)):
            again = [name for name in names if name in seen]
            if again:
                message = f"{quoted(again[0])} has a higher priority already"
                hint = f"a {key[:-1]} has one priority"
                reader.report_at(f"{path}.priorities[{index}].{key}", Code.NO_EFFECT, message, hint)
            seen.update(names)


def _does_not_wait(priority: AdmissionPriority, path: str, reader: Reader) -> None:
    if priority.sheddable and f"{path}.maxWait" in reader.marks:
        message = "`maxWait` does nothing with `sheddable`: such a request does not wait"
        reader.report_at(f"{path}.maxWait", Code.NO_EFFECT, message, "remove one of them")


def check_priorities(policy: Policy, reader: Reader) -> None:
    """Warns of a rule's priority that none of its pools has."""
    pools = {pool.name: pool.picker.admission for pool in policy.pools}
    for rule in policy.rules:
        if not rule.priority or rule.direct_response is not None:
            continue
        path = f"rules.{rule.name}.priority"
        doors = [door for target in rule.targets if (door := pools.get(target.pool)) is not None]
        known = tuple(dict.fromkeys(priority.name for door in doors for priority in door.priorities))
        if not doors:
            message = "no pool of this rule has `admission`: its requests have no priority"
            reader.report_at(path, Code.NO_EFFECT, message, "remove it")
        elif rule.priority not in known:
            message = f"no pool of this rule has the priority {quoted(rule.priority)}"
            hint = f"there are {names_text(known)}" if known else "add `priorities` to its `admission`"
            reader.report_at(path, Code.NO_EFFECT, message, hint)


ADMISSION_RULES: dict[type, tuple[BlockRule, ...]] = {
    Admission: (_some_limit, _some_memory, _known_default, _one_place_for_each),
    AdmissionPriority: (_does_not_wait,),
}
"""Kind of block → rules about one such block."""
