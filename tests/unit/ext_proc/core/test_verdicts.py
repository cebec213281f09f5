"""The machine: how many findings in a row change what, side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.settings import HealthSettings
from ext_proc.core.verdicts import MAX_CHANGES, MEANS, Finding, Sign, State, Verdicts

SETTINGS = HealthSettings()
SIGNS: tuple[Sign, ...] = ("scrapes", "heartbeat", "kv-memory", "progress", "probe")


def machine(settings: HealthSettings = SETTINGS) -> Verdicts:
    """One that judges slot 1."""
    made = Verdicts()
    made.configure({1: settings})
    return made


def play(verdicts: Verdicts, script: str, sign: Sign = "scrapes") -> list[str]:
    """A playbook: `b` is a bad finding, `g` a good one, `h` a hard one; gives the state after each."""
    states = []
    for n, letter in enumerate(script):
        verdicts.take(1, Finding(sign, is_bad=letter != "g", why=letter, is_hard=letter == "h"), float(n))
        states.append(verdicts.state(1).value)
    return states


H, D, U = "healthy", "degraded", "unhealthy"


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ("bb", [H, H]),
        ("bbb", [H, H, D]),
        ("bbgbb", [H, H, H, H, H]),
        ("bbbg", [H, H, D, D]),
        ("bbbgg", [H, H, D, D, H]),
        ("bbbgbgg", [H, H, D, D, D, D, H]),
        ("h", [D]),
        ("hgg", [D, D, H]),
        ("hggb", [D, D, H, H]),
        ("g", [H]),
    ],
)
def test_playbooks(script: str, states: list[str]) -> None:
    """Three soft findings in a row, or a hard one; two good ones in a row."""
    assert play(machine(), script) == states


def test_what_a_policy_may_say() -> None:
    """Other numbers."""
    assert play(machine(HealthSettings(failures=1, successes=1)), "bgb") == [D, H, D]
    assert play(machine(HealthSettings(failures=2, successes=3)), "bbggbggg") == [H, D, D, D, D, D, D, H]


@pytest.mark.parametrize("sign", SIGNS)
def test_what_each_side_means(sign: Sign) -> None:
    """Silence and standing still are worse than no memory and no numbers."""
    assert play(machine(), "h", sign) == [MEANS[sign].value]
    assert (MEANS[sign] is State.UNHEALTHY) == (sign in ("heartbeat", "progress", "probe"))


def test_sides_do_not_refute_each_other() -> None:
    """Who answers and has no memory is degraded; of two sides the worse counts and stands first in words."""
    verdicts = machine()
    play(verdicts, "h", "kv-memory")
    assert play(verdicts, "gggg", "progress") == [D] * 4
    verdicts.take(1, Finding("progress", is_bad=True, why="stuck", is_hard=True), 9.0)
    assert (verdicts.state(1), verdicts.why(1)) == (State.UNHEALTHY, "stuck; h")
    assert play(verdicts, "gg", "progress") == [U, D]


def test_unknown() -> None:
    """Until anything is found; and of whom nothing is to be found it stays so."""
    verdicts = machine()
    assert verdicts.state(1) is State.UNKNOWN
    assert not verdicts.take(2, Finding("progress", is_bad=True, is_hard=True), 0.0)
    assert verdicts.state(2) is State.UNKNOWN
    assert verdicts.why(2) == ""


def test_changes() -> None:
    """Are told once, in order; beyond the bound the oldest are lost."""
    verdicts = machine()
    play(verdicts, "bbbgg")
    found = [(each.slot, each.at, each.was.value, each.now.value, each.why) for each in verdicts.take_changes()]
    assert found == [(1, 2.0, H, D, "b"), (1, 4.0, D, H, "")]
    assert verdicts.take_changes() == []
    for _ in range(MAX_CHANGES):
        play(verdicts, "hgg")
    assert len(verdicts.take_changes()) == MAX_CHANGES


def test_other_settings() -> None:
    """Who is judged by other rules begins anew, and so does who is judged no more; others stay."""
    verdicts = Verdicts()
    verdicts.configure({1: SETTINGS, 2: SETTINGS})
    for slot in (1, 2):
        verdicts.take(slot, Finding("progress", is_bad=True, is_hard=True), 0.0)
    assert verdicts.configure({1: HealthSettings(failures=5), 2: SETTINGS}) == [1]
    assert (verdicts.state(1), verdicts.state(2)) == (State.UNKNOWN, State.UNHEALTHY)
    assert verdicts.configure({}) == [2]
    assert verdicts.state(2) is State.UNKNOWN


def test_another_endpoint_in_the_slot() -> None:
    """Inherits nothing."""
    verdicts = machine()
    play(verdicts, "h")
    verdicts.reset(1)
    assert verdicts.state(1) is State.UNKNOWN


findings = st.builds(Finding, st.sampled_from(SIGNS), is_bad=st.booleans(), is_hard=st.booleans())


@given(st.lists(findings, max_size=80), st.integers(1, 4), st.integers(1, 4))
def test_against_the_rule(taken: list[Finding], failures: int, successes: int) -> None:
    """A side is bad from its last hard finding, or from so many bad ones in a row, until so many good ones in a row;
    the endpoint is as its worst side, and what is told of changes is exactly what changed."""
    verdicts = machine(HealthSettings(failures=failures, successes=successes))
    bad: dict[Sign, bool] = dict.fromkeys(SIGNS, False)
    rows: dict[Sign, list[bool]] = {sign: [] for sign in SIGNS}
    state, changes = State.HEALTHY, []
    for n, finding in enumerate(taken):
        row = rows[finding.sign]
        row.append(finding.is_bad)
        if finding.is_bad and (finding.is_hard or (len(row) >= failures and all(row[-failures:]))):
            bad[finding.sign] = True
        elif len(row) >= successes and not any(row[-successes:]):
            bad[finding.sign] = False
        worst = {MEANS[sign] for sign, is_bad in bad.items() if is_bad}
        now = next((each for each in (State.UNHEALTHY, State.DEGRADED) if each in worst), State.HEALTHY)
        assert verdicts.take(1, finding, float(n)) == (now is not state)
        assert verdicts.state(1) is now
        if now is not state:
            changes.append((state, now))
        state = now
    assert [(each.was, each.now) for each in verdicts.take_changes()] == changes
