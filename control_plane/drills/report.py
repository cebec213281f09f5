"""What a drill prints: what was lost and for how long, what was degraded, and the bounds. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from control_plane.drills.facts import Facts, Phase, Sent, State
from control_plane.drills.judge import Verdict
from control_plane.drills.reading import DrillFile

MOST_REASONS: Final = 5
MOST_PODS: Final = 8
MOST_CHANGES: Final = 8
"""Lines and words of what the picker thought; the JSON report has all."""

MOST_REASON_CHARACTERS: Final = 160


def as_json(file: DrillFile, facts: Facts, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "holds": all(one.holds for one in verdicts),
        "requests": {
            "sent": len(facts.requests),
            "answered": sum(one.is_ok for one in facts.requests),
            "left": sum(one.is_left for one in facts.requests),
            "late_most_ms": round(facts.late_s * 1e3, 1),
            **{name: _loss(facts.requests, which) for name, which in _LOSSES},
            "degraded": dict(Counter(one.degraded for one in facts.requests if one.degraded)),
        },
        "errors": reasons(facts.requests),
        "steps": [
            {
                "name": phase.step,
                "pods": list(phase.pods),
                "began_s": round(phase.began_s, 3),
                "ended_s": None if phase.ended_s is None else round(phase.ended_s, 3),
                "note": phase.note,
                **_served(phase, facts),
                "health": [
                    {"at_s": round(one.at_s, 3), "pod": one.pod, "health": one.health} for one in _states(phase, facts)
                ],
            }
            for phase in facts.phases.values()
        ],
        "bounds": [
            {"bound": one.path, "place": str(file.mark(one.path)), "wanted": one.wanted, "found": one.found}
            | {"holds": one.holds}
            for one in verdicts
        ],
    }


def lines(file: DrillFile, facts: Facts, verdicts: Sequence[Verdict]) -> list[str]:
    """The report as text."""
    told = as_json(file, facts, verdicts)
    requests = told["requests"]
    found = [
        f"sent      {requests['sent']:,} requests, {requests['answered']:,} answered in full; "
        f"at most {requests['late_most_ms']:,.0f} ms late"
    ]
    if requests["left"]:
        found.append(f"left      {requests['left']:,} by their clients, as they were told")
    for name, words in (("lost", "before the first byte"), ("cut", "midway"), ("unended", "without an end")):
        loss = requests[name]
        when = f", in {loss['for_s']:.1f} s from {loss['from_s']:.1f} s on" if loss["count"] else ""
        found.append(f"{name:<9} {loss['count']:,} {words}{when}")
    if requests["degraded"]:
        found.append("degraded  " + ", ".join(f"{count:,} × {label}" for label, count in requests["degraded"].items()))
    found += [f"          {count:,} × {why}" for why, count in told["errors"].items()]
    for step in told["steps"]:
        end = "the end" if step["ended_s"] is None else f"{step['ended_s']:.1f} s"
        whose = f"; {len(step['pods'])} pods answered {step['served']:,} of {step['of']:,}" if step["pods"] else ""
        found.append(f"step      {step['name']}: {step['began_s']:.1f} s to {end}{whose}")
        found += _health(step["health"])
    for one in verdicts:
        sign = "ok  " if one.holds else "FAIL"
        place = "" if one.holds else f"  ({file.mark(one.path)})"
        found.append(f"{sign}      {one.path}: wanted {one.wanted}, found {one.found}{place}")
    return found


def _is_unended(one: Sent) -> bool:
    return one.is_timed_out


def _is_lost(one: Sent) -> bool:
    return one.is_lost


def _is_cut(one: Sent) -> bool:
    return one.is_cut


_LOSSES: Final[tuple[tuple[str, Callable[[Sent], bool]], ...]] = (
    ("lost", _is_lost),
    ("cut", _is_cut),
    ("unended", _is_unended),
)


def _loss(requests: Iterable[Sent], which: Callable[[Sent], bool]) -> dict[str, Any]:
    """How many, and from the sending of the first to the end of the last."""
    found = [one for one in requests if which(one)]
    begin = min((one.sent_s for one in found), default=0.0)
    end = max((one.end_s for one in found), default=0.0)
    return {"count": len(found), "from_s": round(begin, 3), "for_s": round(end - begin, 3)}


def _served(phase: Phase, facts: Facts) -> dict[str, int]:
    during = [one for one in facts.requests if phase.began_s <= one.sent_s < phase.until_s and one.is_ok]
    return {"served": sum(one.pod in phase.pods for one in during), "of": len(during)}


def _states(phase: Phase, facts: Facts) -> list[State]:
    """What the picker thought of its pods from the step on."""
    return [one for one in facts.states if one.pod in phase.pods and one.at_s >= phase.began_s]


def _health(states: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each of the first pods."""
    by_pod: dict[str, list[str]] = {}
    for one in states:
        by_pod.setdefault(one["pod"], []).append(f"{one['at_s']:.1f} s {one['health']}")
    lines = []
    for pod, changes in list(by_pod.items())[:MOST_PODS]:
        more = f", … ({len(changes) - MOST_CHANGES} more)" if len(changes) > MOST_CHANGES else ""
        lines.append(f"          {pod}: {', '.join(changes[:MOST_CHANGES])}{more}")
    return lines


def reasons(requests: Iterable[Sent]) -> dict[str, int]:
    """Why requests were not answered in full, the most frequent first, without anything that a terminal would obey."""
    found = Counter(_reason(one) for one in requests if not one.is_ok and not one.is_left)
    shown = dict(found.most_common(MOST_REASONS))
    rest = found.total() - sum(shown.values())
    return {**shown, "(others)": rest} if rest else shown


def _reason(one: Sent) -> str:
    words = "".join(c if c.isprintable() else " " for c in one.error) or "the answer broke off"
    text = words if one.status in (0, 200) else f"HTTP {one.status}: {words}"
    return text if len(text) <= MOST_REASON_CHARACTERS else text[: MOST_REASON_CHARACTERS - 1] + "…"
