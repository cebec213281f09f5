"""Rules about fallbacks: no model is its own, in the end, and each changes something."""

from collections.abc import Iterator
from typing import Final

from control_plane.policy.codes import Code
from control_plane.policy.degradation import SATURATED, Fallback
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Model, Policy
from control_plane.policy.reader import Reader
from control_plane.policy.ways import ways_of

KV_AWARE: Final = "kv-aware"
"""The strategy that predicts when first tokens come (`ext_proc.core.prediction`)."""


def check_cycles(reader: Reader) -> None:
    """No chain of fallbacks leads back to where it began.

    Chains are not followed while requests are served, so that nothing would run in circles; but whoever writes one
    thinks of one model as worse than the other, and cannot mean both. `fallback: [{pool: …}]` is no chain.
    """
    models = [(path, block) for path, block in reader.built if isinstance(block, Model)]
    others = {model.name: [each.model for each in model.fallback if each.model] for _, model in models}
    for path, model in models:
        for index, each in enumerate(model.fallback):
            circle = _way_back(each.model, model.name, others)
            if circle:
                message = f"{quoted(model.name)} is its own fallback"
                if len(circle) > 1:
                    message += f", by way of {', '.join(quoted(name) for name in circle[:-1])}"
                place = f"{path}.fallback[{index}]"
                hint = "a fallback is a model with which requests are worse off"
                reader.report_at(place, Code.FALLBACK_CYCLE, message, hint)


def _way_back(start: str, end: str, others: dict[str, list[str]]) -> tuple[str, ...]:
    """The models from `start` to `end`, both included; empty where none leads there."""
    paths: list[tuple[str, ...]] = [(start,)] if start else []
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == end:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            paths.extend((*path, name) for name in others.get(path[-1], ()))
    return ()


def check_degradations(policy: Policy, reader: Reader) -> None:
    """Warns of what does nothing."""
    for model in policy.models:
        for key, message, hint in _idle(model, policy):
            path = f"models.{model.name}.{key}"
            if path in reader.marks:  # what is there by default need not do anything
                reader.report_at(path, Code.NO_EFFECT, message, hint)
    if not any(model.degrades for model in policy.models):
        for rule in policy.rules:
            if rule.fallback is not None and rule.direct_response is None:
                message = "no model has `fallback` or `degradation`: nothing is ever degraded"
                reader.report_at(f"rules.{rule.name}.fallback", Code.NO_EFFECT, message, "remove it")


def _idle(model: Model, policy: Policy) -> Iterator[tuple[str, str, str]]:
    own = [policy.pool(target.pool) for target in model.targets if target.weight]
    seen = {pool.name for pool in own}
    for index, each in enumerate(model.fallback):
        there = _pools_of(each, policy)
        if there <= seen:
            what = f"the pool {quoted(each.pool)}" if each.pool else f"each pool of {quoted(each.model)}"
            message = f"{what} comes before this already"
            yield f"fallback[{index}]", message, "a pool is tried once, as its first place says"
        seen |= there
    said = model.degradation
    if said is None:
        return
    if len(ways_of(model, policy)) < 2 and said.answer is None and not _has_rule_with_ways(policy):
        message = "there is nowhere to go, and no answer: nothing is ever degraded"
        yield "degradation", message, "add `fallback` to the model, or `answer` to this"
    if said.slo is not None and all(pool.picker.strategy != KV_AWARE for pool in own):
        message = f"`{KV_AWARE}` alone predicts first tokens, and no pool of the model uses it"
        yield "degradation.slo", message, "remove it, or change the strategy"
    if SATURATED in said.when and all(pool.picker.admission is None for pool in own):
        message = "no pool of the model has `admission`: none is ever full"
        yield "degradation.when", message, f"remove `{SATURATED}`, or say when a pool is full"


def _pools_of(fallback: Fallback, policy: Policy) -> set[str]:
    if fallback.pool:
        return {fallback.pool}
    model = policy.model(fallback.model)
    return {target.pool for target in (() if model is None else model.targets) if target.weight}


def _has_rule_with_ways(policy: Policy) -> bool:
    return any(rule.fallback for rule in policy.rules)
