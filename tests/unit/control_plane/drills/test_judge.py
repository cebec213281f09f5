"""Bounds hold, or do not, by what was seen."""

from dataclasses import replace

import pytest

from control_plane.drills.facts import Decided, Facts, Phase, Sent, State
from control_plane.drills.judge import percentile, verdicts
from control_plane.drills.reading import DrillFile, Place, read_drill
from control_plane.drills.report import as_json, lines

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
PLACES = tuple(Place(address, "p", "") for address in (A, B, C))


def drill(bounds: str = "", step_bounds: str = "{}") -> DrillFile:
    """One step from 10 s to 20 s about `A`."""
    text = f'policy: p\nduration: 30s\nsteps: [{{name: s, at: 10s, for: 10s, fault: hang, pods: ["{A}"], bounds: '
    file, diagnostics = read_drill(f"{text}{step_bounds}}}]\n{bounds}\n", "d.yaml")
    assert file is not None, diagnostics
    return file


def facts(*requests: Sent, decided: tuple[Decided, ...] = (), states: tuple[State, ...] = (), note: str = "") -> Facts:
    """What was seen; the step took as long as it says."""
    phase = Phase(step="s", pods=(A,), began_s=10.0, ended_s=20.0, note=note)
    return Facts(places=PLACES, requests=requests, decided=decided, states=states, phases={"s": phase})


def sent(at: float, pod: str = B, first_token_s: float | None = 0.1, **more: object) -> Sent:
    """One request that went well, but for `more`."""
    return Sent(sent_s=at, end_s=at + 1, pod=pod, first_token_s=first_token_s, **more)  # type: ignore[arg-type]


def lost(at: float) -> Sent:
    """One that got nothing."""
    return sent(at, pod="", first_token_s=None, is_ok=False, status=503, error="no\x1b[1m healthy upstream")


def cut(at: float, pod: str = A) -> Sent:
    """One that broke off."""
    return sent(at, pod=pod, first_token_s=None, is_ok=False, status=200)


def hung(at: float) -> Sent:
    """One without an end."""
    return sent(at, pod="", first_token_s=None, is_ok=False, status=0, is_timed_out=True)


def left(at: float, status: int = 200) -> Sent:
    """One whose client went away, as it was told to."""
    return sent(at, pod="", first_token_s=None, is_ok=False, status=status, is_left=True)


def holds(file: DrillFile, seen: Facts) -> dict[str, bool]:
    """Bound → whether it holds."""
    return {one.path.rpartition(".")[2]: one.holds for one in verdicts(file.drill, seen)}


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ((sent(1.0),), (True, True, True)),
        ((sent(1.0), lost(2.0)), (False, True, True)),
        ((cut(1.0),), (True, True, True)),
        ((cut(1.0), cut(2.0)), (True, False, True)),
        ((hung(1.0),), (True, True, False)),
        ((left(1.0), left(2.0, status=0)), (True, True, True)),
        ((), (False, False, False)),
    ],
)
def test_what_was_lost(requests: tuple[Sent, ...], expected: tuple[bool, ...]) -> None:
    """Each way of failing has its own bound; a drill without requests proves nothing."""
    found = holds(drill("bounds: {lostBeforeFirstByte: 0, cut: 1}"), facts(*requests))
    assert tuple(found.values()) == expected


@pytest.mark.parametrize(
    ("answered_at", "expected"), [(9.9, True), (10.5, True), (11.5, False), (19.9, False), (20.5, True)]
)
def test_leaving(answered_at: float, expected: bool) -> None:
    """What counts is sent while the step lasts and answered by its pods."""
    file = drill(step_bounds="{leavesWithin: 1s}")
    assert holds(file, facts(sent(15.0), sent(answered_at, A)))["leavesWithin"] == expected


def test_leaving_unseen() -> None:
    """Where no answer has a pod nobody knows."""
    assert not holds(drill(step_bounds="{leavesWithin: 1s}"), facts(sent(15.0, "")))["leavesWithin"]


def failure(known_s: float) -> Decided:
    """A decision of which the picker knows since then that A failed it."""
    return Decided(at_s=known_s - 1, named=(A, B), failed=(A,), known_s=known_s)


@pytest.mark.parametrize(
    ("failures", "named_at", "expected"),
    [
        (1, 11.9, True),  # on its way when the failure became known
        (1, 12.1, False),
        (2, 12.1, True),
        (2, 13.1, False),
        (2, 20.1, True),  # it is well again
    ],
)
def test_naming(failures: int, named_at: float, expected: bool) -> None:
    """Decisions after the n-th known failure must not name the pod, not even as the last."""
    file = drill(step_bounds=f"{{namedAfterFailures: {failures}}}")
    decided = (failure(12.0), failure(13.0), Decided(at_s=named_at, named=(B, A)))
    assert holds(file, facts(sent(11.0), decided=decided))["namedAfterFailures"] == expected


def test_naming_without_a_picker() -> None:
    """Where no decision was seen nothing was proved."""
    assert not holds(drill(step_bounds="{namedAfterFailures: 1}"), facts(sent(11.0)))["namedAfterFailures"]


@pytest.mark.parametrize(
    ("at", "health", "expected"),
    [(10.5, "ejected", True), (11.5, "ejected", False), (9.0, "ejected", False), (10.5, "healthy", False)],
)
def test_ejecting(at: float, health: str, expected: bool) -> None:
    """The picker has to think ill of it in time."""
    file = drill(step_bounds="{ejectedWithin: 1s}")
    found = facts(sent(11.0), states=(State(at_s=at, pod=A, health=health),))
    assert holds(file, found)["ejectedWithin"] == expected


@pytest.mark.parametrize(
    ("of", "most", "expected"),
    [("others", 0.5, True), ("others", 0.4, False), ("fair", 0.6, True), ("fair", 0.5, False)],
)
def test_shares(of: str, most: float, expected: bool) -> None:
    """One request here and two at each other: half of the others', 0.6 of fair. What came before does not count."""
    file = drill(step_bounds=f"{{share: [{{most: {most}, of: {of}, from: 2s}}]}}")
    requests = (sent(11.0, A), sent(12.5, A), *(sent(13.0, pod) for pod in (B, B, C, C)))
    assert holds(file, facts(*requests))["share[0]"] == expected


def test_nobody_served() -> None:
    """A share of nothing holds nothing."""
    file = drill(step_bounds="{share: [{most: 2}]}")
    assert not holds(file, facts(sent(13.0, A)))["share[0]"]


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("{most: 150ms}", False),
        ("{most: 950ms}", True),
        ("{most: 150ms, percentile: 50}", True),
        ("{most: 150ms, of: others}", True),
        ("{most: 150ms, from: 5s}", True),
    ],
)
def test_delays(bound: str, expected: bool) -> None:
    """100 ms before, meanwhile 200 ms, and once a second at the pod that is broken."""
    file = drill(step_bounds=f"{{addedDelay: [{bound}]}}")
    requests = [sent(0.5, first_token_s=5.0), *(sent(2.0 + n) for n in range(5))]
    requests += [sent(11.0, A, first_token_s=1.0), *(sent(12.0 + n, first_token_s=0.2) for n in range(7))]
    assert holds(file, facts(*requests))["addedDelay[0]"] == expected


def test_delays_need_streams_on_both_sides() -> None:
    """Without a measure before, or meanwhile, nothing is known."""
    file = drill(bounds="bounds: {addedDelay: [{most: 1h}]}")
    assert not holds(file, facts(sent(2.0)))["addedDelay[0]"]
    assert not holds(file, facts(sent(12.0)))["addedDelay[0]"]
    assert holds(file, facts(sent(2.0), sent(12.0)))["addedDelay[0]"]


@pytest.mark.parametrize(("back_at", "expected"), [(20.5, True), (22.5, False), (19.0, False)])
def test_recovering(back_at: float, expected: bool) -> None:
    """Each of its pods answers something that was sent in time after the end."""
    file = drill(step_bounds="{recoversWithin: 2s}")
    assert holds(file, facts(sent(20.2), sent(back_at, A)))["recoversWithin"] == expected


@pytest.mark.parametrize(("labelled", "expected"), [(1, False), (2, True)])
def test_labels(labelled: int, expected: bool) -> None:
    """At least two thirds say that they are degraded."""
    requests = [sent(11.0 + n, degraded="fallback" if n < labelled else "") for n in range(3)]
    assert holds(drill(step_bounds="{labelled: 66%}"), facts(*requests))["labelled"] == expected


def test_a_step_that_was_not_done() -> None:
    """Then the drill has not shown what it says."""
    file = drill()
    assert holds(file, facts(sent(1.0), note="pod did not start"))["s"] is False
    phase = Phase(step="s", pods=(A,), began_s=10.0, ended_s=30.5)
    late = Facts(places=PLACES, requests=(sent(1.0),), phases={"s": phase})
    assert holds(file, late)["s"] is False, "its end was not under load"
    nothing = Facts(places=PLACES, requests=(sent(1.0),), phases={})
    assert holds(file, nothing)["s"] is False


def test_what_is_mended_step_by_step() -> None:
    """A pod that is back while others are still being started has not stayed, nor must its answers be labelled."""
    file = drill(step_bounds="{leavesWithin: 1s, labelled: 100%}")
    seen = facts(sent(11.0, degraded="small"), sent(18.5, pod=A))
    assert not any(holds(file, seen)[bound] for bound in ("leavesWithin", "labelled"))
    seen = replace(seen, phases={"s": replace(seen.phases["s"], mended_from_s=18.0)})
    assert all(holds(file, seen)[bound] for bound in ("leavesWithin", "labelled"))


@pytest.mark.parametrize(
    ("told", "expected"), [({"degraded": 1, "zone": 2}, True), ({}, False), ({"degraded": 2}, False)]
)
def test_notices(told: dict[str, int], expected: bool) -> None:
    """As many as the file says: nobody who was not told, nobody who was told twice."""
    file = drill("bounds: {notices: {degraded: 1}}")
    assert holds(file, replace(facts(sent(1.0)), notices=told))["degraded"] is expected


def test_notices_that_nobody_could_read() -> None:
    """Are no proof that there were none."""
    assert holds(drill("bounds: {notices: {degraded: 0}}"), facts(sent(1.0)))["degraded"] is False


def test_a_kind_of_notice_that_there_is_not() -> None:
    """Is told with its place."""
    file, diagnostics = read_drill("policy: p\nduration: 9s\nbounds: {notices: {degrade: 1}}\n", "d.yaml")
    assert file is None
    assert [(one.line, one.column) for one in diagnostics] == [(3, 20)]


def test_the_report() -> None:
    """What was lost and for how long, what was degraded, where a broken bound stands; no control characters."""
    file = drill("bounds: {lostBeforeFirstByte: 1}")
    changes = tuple(State(at_s=9.0 + n, pod=A, health=("healthy", "ejected")[n % 2]) for n in range(12))
    seen = facts(sent(1.0, degraded="fallback"), lost(11.0), lost(13.0), cut(12.0), states=changes)
    found = list(verdicts(file.drill, seen))
    told = as_json(file, seen, found)
    assert told["holds"] is False
    assert told["requests"]["lost"] == {"count": 2, "from_s": 11.0, "for_s": 3.0}
    assert told["requests"]["degraded"] == {"fallback": 1}
    text = "\n".join(lines(file, seen, found))
    assert "lost      2 before the first byte, in 3.0 s from 11.0 s on" in text
    assert "FAIL      bounds.lostBeforeFirstByte: wanted at most 1, found 2 of 4  (d.yaml:4:31)" in text
    assert f"          {A}: 10.0 s ejected, 11.0 s healthy, " in text
    assert ", … (3 more)\n" in text
    assert len(told["steps"][0]["health"]) == 11
    assert "\x1b" not in text


def test_percentiles() -> None:
    """By nearest rank."""
    assert [percentile([1.0, 2.0, 3.0], percent) for percent in (1, 50, 67, 100)] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("bound", "holds_so"),
    [
        ("{to: 2s, most: 50}", True),
        ("{to: 2s, most: 49}", False),
        ("{from: 2s, to: 4s, least: 100}", True),
        ("{to: 4s, least: 100}", False),
        ("{from: 5s, to: 9s}", False),
    ],
)
def test_afterwards(bound: str, holds_so: bool) -> None:
    """The part that its pods have of what is answered; where nothing is answered nothing holds."""
    file = drill(step_bounds=f"{{afterwards: [{bound}]}}")
    seen = facts(sent(19.9, pod=A), sent(20.0), sent(21.0, pod=A), sent(22.0, pod=A), lost(21.5), sent(24.0))
    assert holds(file, seen)["afterwards[0]"] is holds_so


def test_afterwards_of_a_step_that_goes_on() -> None:
    """There is no time after it."""
    file = drill(step_bounds="{afterwards: [{to: 9s}]}")
    seen = facts(sent(21.0))
    unended = replace(seen, phases={"s": replace(seen.phases["s"], ended_s=None)})
    assert not holds(file, unended)["afterwards[0]"]
