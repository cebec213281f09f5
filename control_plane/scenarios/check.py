"""What of a scenario is not as it expects."""

from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.scenarios.decide import Decided
from control_plane.scenarios.model import Expected, Scenario
from control_plane.scenarios.put import Outcome
from ext_proc.core.decision import Canned, Named, Rejected, Unpicked


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that does not hold; `path` is that of its key, below the scenario."""

    path: str
    message: str


def failures(scenario: Scenario, found: Outcome) -> Iterator[Failure]:
    """What is not as the scenario expects."""
    yield from _about_routes(scenario.expect, found.decided)
    yield from _about_answers(scenario.expect, found)


def _about_routes(expect: Expected, decided: Decided) -> Iterator[Failure]:
    pools = dict(decided.pools)
    if expect.rule is not None and decided.rule != expect.rule:
        why = _passed(decided, f"rule/{expect.rule}")
        decider = f"the route {decided.route}" if decided.route else "no route"
        yield Failure("expect.rule", f"{decider} decides, not the rule {expect.rule}{why}")
    if expect.route is not None and decided.route != expect.route:
        why = _passed(decided, expect.route)
        yield Failure("expect.route", f"the route is {decided.route or 'none'}, not {expect.route}{why}")
    if expect.pool is not None and not pools.get(expect.pool):
        yield Failure("expect.pool", f"it goes to {_pools(decided)}, not to {expect.pool}")
    if expect.pools is not None and pools != dict(expect.pools):
        yield Failure("expect.pools", f"it goes to {_pools(decided)}")
    if expect.engine_model is not None and decided.engine_model != expect.engine_model:
        message = f"the engine is asked for {decided.engine_model or 'no model'}, not {expect.engine_model}"
        yield Failure("expect.engineModel", message)


def _about_answers(expect: Expected, found: Outcome) -> Iterator[Failure]:
    answer = found.answer
    named = answer.endpoints if isinstance(answer, Named) else ()
    status = answer.status if isinstance(answer, Rejected | Canned) else found.decided.status
    if expect.status is not None and status != expect.status:
        what = "it is passed on" if status is None else f"the answer is {status}"
        yield Failure("expect.status", f"{what}, not {expect.status}")
    if expect.picked is not None and expect.picked != bool(named):
        yield Failure("expect.picked", f"the picker {_named(found)}")
    if expect.pick is not None and named[:1] != (expect.pick,):
        yield Failure("expect.pick", f"the picker {_named(found)}, not {expect.pick} first")
    if expect.not_picked is not None and expect.not_picked in named:
        yield Failure("expect.notPicked", f"the picker {_named(found)}")


def _passed(decided: Decided, route: str) -> str:
    """Why a route that was expected did not match, where the compiled routes have it and came to it."""
    why = [passed.why for passed in decided.evaluation.passed if passed.name == route]
    return f": {'; or: '.join(dict.fromkeys(why))}" if why else ""


def _pools(decided: Decided) -> str:
    if not decided.pools:
        return f"no pool (answer {decided.status})"
    return ", ".join(f"{name} {weight}" if len(decided.pools) > 1 else name for name, weight in decided.pools)


def _named(found: Outcome) -> str:
    match found.answer:
        case None:
            return "is not asked"
        case Named(endpoints=endpoints):
            return f"names {', '.join(endpoints)} ({found.why})"
        case Rejected(status=status) | Canned(status=status):
            return f"answers {status}"
        case Unpicked(reason=reason):
            return f"names nobody ({reason})"
