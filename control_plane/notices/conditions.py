"""What is wrong, read from what the parts of a sidecar say of themselves. Pure: rows in, conditions out.

Each function is one source. What happens to many things at once is one condition with numbers in it, not many: a wave
of ejections is about its pool, a bad policy about the group of Envoys that refuses it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from control_plane.notices import kinds
from control_plane.notices.notice import Condition, Fact

SHOWN: Final = 5
"""Names that are repeated in a fact; a number says how many more there are."""

ERROR_STATES: Final = {
    "rejected": "has errors",
    "refused": "is not applied",
    "rolled-back": "was rolled back",
}
"""What became of an edit (`control_plane.sidecar.policy_state`) → in words."""


def policy(state: str, version: str, error: str, file_error: str, findings: int) -> Iterator[Condition]:
    """The policy file: an edit that is not served, a file that cannot be read."""
    if file_error:
        summary = f"the policy file cannot be read: {file_error}"
        yield Condition(kind=kinds.POLICY, subject="file", summary=summary, facts={"serving": version})
    if state in ERROR_STATES:
        reason = error or f"{findings} findings; `kvpilot check` lists them"
        summary = f"the last edit of the policy {ERROR_STATES[state]}: {reason}"
        yield Condition(kind=kinds.POLICY, subject="edit", summary=summary, facts={"serving": version, "state": state})


def removal(fleet_error: str) -> Iterator[Condition]:
    """A result of discovery that takes away too much."""
    if fleet_error:
        summary = f"what discovery finds is not served: {fleet_error}"
        yield Condition(kind=kinds.REMOVAL, subject="endpoints", summary=summary)


def discovery(rows: Iterable[Mapping[str, Any]]) -> Iterator[Condition]:
    """Rows of `sources` in the status."""
    for row in rows:
        if row["state"] in ("stale", "failed"):
            is_empty = row["state"] == "failed"
            kept = "there are none from it" if is_empty else f"its last {row['endpoints']} endpoints are used"
            yield Condition(
                kind=kinds.DISCOVERY,
                subject=f"{row['pool']} {row['kind']} {row['target']}",
                summary=f"pool {row['pool']}: {row['kind']} {row['target']} fails, {kept}: {row['error']}",
                severity=kinds.CRITICAL if is_empty else kinds.WARNING,
                facts={"pool": row["pool"], "endpoints": row["endpoints"]},
            )


def certificates(rows: Iterable[Mapping[str, Any]], wall: float, warn_s: float) -> Iterator[Condition]:
    """Rows of `certificates` in the status: files that cannot be used, certificates that end within `warn_s`."""
    for row in rows:
        where, files = row["policy"], ", ".join(row["files"])
        if row["error"]:
            is_down = row["state"] in ("missing", "expired")
            yield Condition(
                kind=kinds.CERTIFICATE,
                subject=where,
                summary=f"{where}: {row['error']}",
                severity=kinds.CRITICAL if is_down else kinds.WARNING,
                facts={"state": row["state"], "files": files},
            )
        elif row["expires"] and datetime.fromisoformat(row["expires"]).timestamp() - wall <= warn_s:
            yield Condition(
                kind=kinds.CERTIFICATE,
                subject=where,
                summary=f"{where}: the certificate ends at {row['expires']}",
                facts={"expires": row["expires"], "files": files},
            )


def rejected_pushes(refused: Iterable[tuple[str, str, str]]) -> Iterator[Condition]:
    """(group of Envoys, resource, error): one condition for each group, the first error in its words."""
    by_group: dict[str, dict[str, str]] = {}
    for group, resource, error in refused:
        by_group.setdefault(group, {}).setdefault(resource, error)
    for group, errors in by_group.items():
        first = next(iter(errors))
        what = first if len(errors) == 1 else f"{len(errors)} resources, first {first}"
        yield Condition(
            kind=kinds.REJECTED_PUSH,
            subject=group,
            summary=f"Envoys of the group {group} do not get {what}: {errors[first]}",
            facts={"resources": some(list(errors)), "count": len(errors)},
        )


def endpoints_out(
    pools: Iterable[tuple[str, Sequence[str], int]], share: float, why: Callable[[str], str] = lambda address: ""
) -> Iterator[Condition]:
    """(pool, who of it is left alone after failures, how many it has): from a `share` of 0 to 1 on.

    `why` says of an address what is found of it.
    """
    for pool, out, total in pools:
        if not total:
            summary = f"pool {pool}: it has no endpoint"
        elif len(out) == total:
            summary = (
                f"pool {pool}: all {total} endpoints fail" if total > 1 else f"pool {pool}: its only endpoint fails"
            )
        elif out and len(out) >= share * total:
            summary = f"pool {pool}: {len(out)} of {total} endpoints fail and are left alone"
        else:
            continue
        facts: dict[str, Fact] = {"pool": pool, "out": len(out), "total": total}
        if out:
            facts["endpoints"] = some(out)
            words = next((f"{address}: {found}" for address in out if (found := why(address))), "")
            if words:
                facts["why"] = words
        yield Condition(
            kind=kinds.ENDPOINTS_OUT,
            subject=pool,
            summary=summary,
            severity=kinds.CRITICAL if len(out) == total else kinds.WARNING,
            facts=facts,
        )


def zones(rows: Sequence[Mapping[str, Any]]) -> Iterator[Condition]:
    """Rows of `zones` in the status: one condition for each place whose requests go elsewhere, from the switch to the
    end of the way back; for information alone where it is only full, or is none that requests are sent to."""
    told: set[tuple[str, str]] = set()
    places = Counter((row["pool"], row["from"]) for row in rows)
    for row in rows:
        pool, place = row["pool"], row["place"]
        is_alone = places[pool, row["from"]] == 1  # nothing can go elsewhere: its endpoints are told of
        if row["state"] == "active" or is_alone or (pool, place) in told:
            continue
        told.add((pool, place))
        yield Condition(
            kind=kinds.ZONE,
            subject=f"{pool} {place}",
            summary=f"pool {pool}: {place} is {row['state']}: {row['why']}",
            severity=kinds.INFO if row["state"] == "degraded" else kinds.WARNING,
            facts={"pool": pool, "place": place, "from": row["from"], "state": row["state"], "share": row["share"]},
        )


def degraded(models: Iterable[Mapping[str, Any]]) -> Iterator[Condition]:
    """Rows of `degraded` in the status: one condition for each model. What changes with each request, such as who
    answers it, is a fact and not in the words of the summary."""
    for row in models:
        model, pool = row["model"], row["pool"]
        facts: dict[str, Fact] = {"pool": pool, "latest": row["label"], "why": row["why"], "requests": row["requests"]}
        yield Condition(
            kind=kinds.DEGRADED,
            subject=model,
            summary=f"model {model}: pool {pool} cannot serve all requests, they are answered otherwise",
            facts=facts,
        )


def predictions(pools: Iterable[tuple[str, str, float, str]]) -> Iterator[Condition]:
    """(pool, verdict, trust, why) of pools whose picks believe less than usual."""
    for pool, verdict, trust, why in pools:
        summary = f"pool {pool}: predictions of cached tokens are wrong ({verdict}), they count for {trust:.0%}: {why}"
        yield Condition(kind=kinds.PREDICTION, subject=pool, summary=summary, facts={"pool": pool, "verdict": verdict})


def strategies_off(pools: Iterable[tuple[str, str]]) -> Iterator[Condition]:
    """(pool, why) of pools whose own strategy is switched off."""
    for pool, why in pools:
        summary = f"pool {pool}: its strategy is switched off until it is edited, and kv-aware stands in: {why}"
        yield Condition(kind=kinds.STRATEGY_OFF, subject=pool, summary=summary, facts={"pool": pool})


def kv_events(failing: Mapping[str, str]) -> Iterator[Condition]:
    """Addresses that cannot be listened to, and why: one condition for all."""
    if failing:
        first = next(iter(failing))
        summary = f"cache events of {len(failing)} addresses cannot be heard; {first}: {failing[first]}"
        facts: dict[str, Fact] = {"count": len(failing), "addresses": some(list(failing))}
        yield Condition(kind=kinds.KV_EVENTS, subject="events", summary=summary, facts=facts)


def gpu_exporters(failing: Mapping[str, str]) -> Iterator[Condition]:
    """Exporters of hardware numbers that cannot be read, and why: one condition for all."""
    if failing:
        first = next(iter(failing))
        summary = f"GPU numbers of {len(failing)} exporters or endpoints cannot be read; {first}: {failing[first]}"
        facts: dict[str, Fact] = {"count": len(failing), "exporters": some(list(failing))}
        yield Condition(kind=kinds.GPU_EXPORTER, subject="exporters", summary=summary, facts=facts)


def internal_errors(lately: int) -> Iterator[Condition]:
    """Failures of code since a little while."""
    if lately:
        summary = f"{lately} picks failed by an error in code; the log has it"
        yield Condition(kind=kinds.INTERNAL_ERROR, subject="picks", summary=summary, facts={"count": lately})


def drains(rows: Iterable[Mapping[str, Any]]) -> Iterator[Condition]:
    """Rows of `drains` in the status: one condition for each pool."""
    by_pool: dict[str, list[str]] = {}
    for row in rows:
        by_pool.setdefault(row["pool"], []).append(row["address"])
    for pool, addresses in by_pool.items():
        summary = f"pool {pool}: endpoints are taken out of service: {some(addresses)}"
        yield Condition(kind=kinds.DRAIN, subject=pool, summary=summary, facts={"pool": pool, "count": len(addresses)})


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
