"""Holds what was seen in a drill against its bounds.

Pure. A bound for which there was nothing to see does not hold: a drill without requests proves nothing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.drills.facts import Facts, Phase, Sent
from control_plane.drills.model import AddedDelay, Afterwards, Drill, Share, Step

WARM_UP_S: Final = 1.0
"""The first requests meet cold connections and caches: they are no measure of how it was before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound: its path in the file, what it wants, what was found, and whether it holds."""

    path: str
    wanted: str
    found: str
    holds: bool


def verdicts(drill: Drill, facts: Facts) -> Iterator[Verdict]:
    """All bounds of the drill, in the order of its steps."""
    for step in drill.steps:
        phase = facts.phases.get(step.name)
        if phase is None or phase.note:
            yield Verdict(f"steps.{step.name}", "done", phase.note if phase else "it never began", holds=False)
        if phase is not None and phase.ended_s is not None and phase.ended_s > drill.duration_s:
            late = f"over after {phase.ended_s:.1f} s"
            yield Verdict(f"steps.{step.name}", f"over within {drill.duration_s:g} s, under load", late, holds=False)
        if phase is not None:
            yield from _of_step(step, phase, drill, facts)
    yield from _of_all(drill, facts)


def _of_all(drill: Drill, facts: Facts) -> Iterator[Verdict]:
    bounds, requests = drill.bounds, facts.requests
    counts = (
        ("lostBeforeFirstByte", bounds.lost_before_first_byte, sum(one.is_lost for one in requests)),
        ("cut", bounds.cut, sum(one.is_cut for one in requests)),
        ("unended", bounds.unended, sum(one.is_timed_out for one in requests)),
    )
    for key, most, found in counts:
        if most is not None:
            of = f" of {len(requests):,}" if requests else ", but nothing was sent"
            yield Verdict(f"bounds.{key}", f"at most {most:,}", f"{found:,}{of}", bool(requests) and found <= most)
    for kind, exactly in bounds.notices.items():
        told = None if facts.notices is None else facts.notices.get(kind, 0)
        seen = "kvpilot never said" if told is None else f"{told}"
        yield Verdict(f"bounds.notices.{kind}", f"{exactly}", seen, told == exactly)
    everything = Phase(step="", pods=(), began_s=_baseline_end(drill))
    yield from _delays("bounds", bounds.added_delay, everything, drill, facts)


def _of_step(step: Step, phase: Phase, drill: Drill, facts: Facts) -> Iterator[Verdict]:
    path, bounds = f"steps.{step.name}.bounds", step.bounds
    if bounds.leaves_within_s is not None:
        yield _leaves(f"{path}.leavesWithin", bounds.leaves_within_s, phase, facts)
    if bounds.named_after_failures is not None:
        yield _named(f"{path}.namedAfterFailures", bounds.named_after_failures, phase, facts)
    if bounds.ejected_within_s is not None:
        yield _ejected(f"{path}.ejectedWithin", bounds.ejected_within_s, phase, facts)
    for number, share in enumerate(bounds.share):
        yield _share(f"{path}.share[{number}]", share, phase, facts)
    yield from _delays(path, bounds.added_delay, phase, drill, facts)
    if bounds.recovers_within_s is not None:
        yield _recovers(f"{path}.recoversWithin", bounds.recovers_within_s, phase, facts)
    for number, afterwards in enumerate(bounds.afterwards):
        yield _afterwards(f"{path}.afterwards[{number}]", afterwards, phase, facts)
    if bounds.labelled is not None:
        yield _labelled(f"{path}.labelled", bounds.labelled, phase, facts)


def _during(phase: Phase, facts: Facts, from_s: float = 0.0) -> list[Sent]:
    return [one for one in facts.requests if phase.began_s + from_s <= one.sent_s < phase.until_s]


def _leaves(path: str, within_s: float, phase: Phase, facts: Facts) -> Verdict:
    during = _during(phase, facts)
    answered = [one.sent_s for one in during if one.is_ok and one.pod in phase.pods]
    last = max(answered, default=phase.began_s) - phase.began_s
    # Where nobody tells who answered, that nobody answered proves nothing.
    is_told = any(one.pod for one in during)
    found = f"{last:.2f} s, {len(answered)} requests" if is_told else "nobody told who answered"
    return Verdict(path, f"within {within_s:g} s", found, is_told and last <= within_s)


def _named(path: str, failures: int, phase: Phase, facts: Facts) -> Verdict:
    seen, again, first = 0, 0, 0
    for pod in phase.pods:
        known = sorted(one.known_s for one in facts.decided if pod in one.failed and one.known_s is not None)
        known = [at for at in known if at >= phase.began_s]
        seen += len(known)
        if len(known) >= failures:
            after = [
                one for one in facts.decided if known[failures - 1] < one.at_s < phase.until_s and pod in one.named
            ]
            again += len(after)
            first += sum(one.named[0] == pod for one in after)
    found = f"named {again} times again, {first} times first" if again else "not named again"
    wanted = f"not named after {failures} known failure{'s' if failures > 1 else ''}"
    # Without decisions the picker was not looked at; without failures there was nothing to learn from.
    return Verdict(path, wanted, f"{found}; {seen} known", bool(facts.decided) and not again)


def _ejected(path: str, within_s: float, phase: Phase, facts: Facts) -> Verdict:
    latest = 0.0
    for pod in phase.pods:
        out = [one.at_s for one in facts.states if one.pod == pod and one.health != "healthy"]
        latest = max(latest, min((at - phase.began_s for at in out if at >= phase.began_s), default=math.inf))
    found = f"{latest:.2f} s" if math.isfinite(latest) else "never"
    return Verdict(path, f"within {within_s:g} s", found, latest <= within_s)


def _share(path: str, share: Share, phase: Phase, facts: Facts) -> Verdict:
    pools = {place.pool for place in facts.places if place.address in phase.pods}
    all_pods = [place.address for place in facts.places if place.pool in pools]
    others = [pod for pod in all_pods if pod not in phase.pods]
    served = Counter(one.pod for one in _during(phase, facts, share.from_s) if one.is_ok)
    own = _mean(served, phase.pods)
    base = _mean(served, others if share.of == "others" else all_pods)
    found = own / base if base else math.inf
    counts = f"{own:.1f} requests each, {share.of} {base:.1f}"
    return Verdict(path, f"at most {share.most:g} of {share.of}", f"{found:.2f} ({counts})", found <= share.most)


def _mean(served: Counter[str], pods: Sequence[str]) -> float:
    return sum(served[pod] for pod in pods) / len(pods) if pods else 0.0


def _delays(path: str, bounds: Iterable[AddedDelay], phase: Phase, drill: Drill, facts: Facts) -> Iterator[Verdict]:
    for number, bound in enumerate(bounds):
        end = _baseline_end(drill)
        before = _first_tokens(one for one in facts.requests if WARM_UP_S <= one.sent_s < end)
        during = _first_tokens(
            one for one in _during(phase, facts, bound.from_s) if bound.of == "all" or one.pod not in phase.pods
        )
        wanted = f"P{bound.percentile} at most {bound.most_s * 1e3:,.0f} ms later"
        if not before or not during:
            when = "before" if not before else "meanwhile"
            yield Verdict(f"{path}.addedDelay[{number}]", wanted, f"no stream was answered {when}", holds=False)
            continue
        was, became = percentile(before, bound.percentile), percentile(during, bound.percentile)
        found = f"{(became - was) * 1e3:+,.0f} ms, from {was * 1e3:,.0f} to {became * 1e3:,.0f}"
        yield Verdict(f"{path}.addedDelay[{number}]", wanted, found, became - was <= bound.most_s)


def _baseline_end(drill: Drill) -> float:
    return min((step.at_s for step in drill.steps), default=0.0)


def _first_tokens(requests: Iterable[Sent]) -> list[float]:
    return sorted(one.first_token_s for one in requests if one.first_token_s is not None)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank in an ordered list that is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _recovers(path: str, within_s: float, phase: Phase, facts: Facts) -> Verdict:
    wanted = f"within {within_s:g} s"
    if phase.ended_s is None:
        return Verdict(path, wanted, "it has not ended", holds=False)
    after = [one for one in facts.requests if one.sent_s >= phase.ended_s and one.is_ok]
    if phase.pods:
        back = [min((one.sent_s for one in after if one.pod == pod), default=math.inf) for pod in phase.pods]
    else:
        back = [min((one.sent_s for one in after if one.decision), default=math.inf)]
    took = max(back) - phase.ended_s
    return Verdict(path, wanted, f"{took:.2f} s" if math.isfinite(took) else "never", took <= within_s)


def _afterwards(path: str, bound: Afterwards, phase: Phase, facts: Facts) -> Verdict:
    when = f"{bound.from_s:g} to {bound.to_s:g} s after it"
    wanted = f"{bound.least} to {bound.most} % of the answers, {when}"
    if phase.ended_s is None:
        return Verdict(path, wanted, "it has not ended", holds=False)
    begin, end = phase.ended_s + bound.from_s, phase.ended_s + bound.to_s
    answered = [one for one in facts.requests if begin <= one.sent_s < end and one.is_ok and one.pod]
    own = sum(one.pod in phase.pods for one in answered)
    share = 100 * own / len(answered) if answered else 0.0
    found = f"{share:.0f} %, {own} of {len(answered)}"
    return Verdict(path, wanted, found, bool(answered) and bound.least <= share <= bound.most)


def _labelled(path: str, least: int, phase: Phase, facts: Facts) -> Verdict:
    answered = [one for one in _during(phase, facts) if one.is_ok]
    labelled = sum(bool(one.degraded) for one in answered)
    share = 100 * labelled / len(answered) if answered else 0.0
    found = f"{share:.0f} %, {labelled} of {len(answered)}"
    return Verdict(path, f"at least {least} %", found, bool(answered) and share >= least)
