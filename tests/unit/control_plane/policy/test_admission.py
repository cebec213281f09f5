"""What a policy says about admission."""

import pytest

from control_plane.policy import load
from control_plane.policy.admission import Admission, AdmissionPriority
from tests.unit.control_plane.policy.samples import MINIMAL, document


def with_admission(admission: str) -> str:
    """The smallest policy with a pool whose requests may have to wait."""
    return MINIMAL.replace("8000}]}}", f"8000}}], picker: {{admission: {admission}}}}}}}")


def admission(text: str) -> Admission | None:
    """What that policy says."""
    return document(with_admission(text)).policy.pools[0].picker.admission


def test_nobody_waits_by_default() -> None:
    """It is asked for."""
    assert document(MINIMAL).policy.pools[0].picker.admission is None
    assert admission("{maxInFlight: 8}") == Admission(max_in_flight=8)


def test_everything() -> None:
    """All keys of it."""
    text = (
        "{maxInFlight: 8, maxPrefillTokens: 20000, maxKvUsage: 90%, headroom: 25, maxWaiting: 50, "
        "maxWaitingTokens: 100000, maxWait: 10s, priorityHeader: X-Class, tenantHeader: x-team, "
        "waitHeader: x-patience, defaultPriority: low, "
        "priorities: [{name: high, maxWait: 2s}, {name: low, kinds: [embedding]}, {name: spare, sheddable: true}]}"
    )
    assert admission(text) == Admission(
        max_in_flight=8,
        max_prefill_tokens=20_000,
        max_kv_usage=90,
        headroom=25,
        max_waiting=50,
        max_waiting_tokens=100_000,
        max_wait_s=10.0,
        priority_header="x-class",
        tenant_header="x-team",
        wait_header="x-patience",
        default_priority="low",
        priorities=(
            AdmissionPriority(name="high", max_wait_s=2.0),
            AdmissionPriority(name="low", kinds=("embedding",)),
            AdmissionPriority(name="spare", sheddable=True),
        ),
    )


def test_headers_that_are_not_looked_at() -> None:
    """Clients do not choose."""
    text = "{maxInFlight: 8, priorityHeader: off, tenantHeader: off, waitHeader: off}"
    assert admission(text) == Admission(max_in_flight=8, priority_header=None, tenant_header=None, wait_header=None)


RULE = "rules: [{name: r, match: {headers: {x-a: {present: true}}}, TO, priority: high}]\n"


@pytest.mark.parametrize(
    ("admission_", "to", "expected"),
    [
        ("{maxInFlight: 1, priorities: [{name: high, models: [llama]}]}", "pool: POOL", []),
        (
            "{maxInFlight: 1, priorities: [{name: low}, {name: lower}]}",
            "pool: POOL",
            ["no pool of this rule has the priority `high`"],
        ),
        ("{maxInFlight: 1}", "pool: POOL", ["no pool of this rule has the priority `high`"]),
        ("", "pool: POOL", ["no pool of this rule has `admission`: its requests have no priority"]),
        (
            "{maxInFlight: 1, priorities: [{name: high}]}",
            "directResponse: {status: 403}",
            ["`priority` does nothing beside `directResponse`"],
        ),
    ],
)
def test_priorities_of_rules(admission_: str, to: str, expected: list[str]) -> None:
    """One of a pool that the rule leads to; what does nothing is told, with its place."""
    base = with_admission(admission_) if admission_ else MINIMAL
    pool = document(MINIMAL).policy.pools[0].name
    found = load(base + RULE.replace("TO", to.replace("POOL", pool)), "policy.yaml")
    assert [each.message for each in found.diagnostics] == expected
    assert found.document is not None
    if not expected:
        assert found.document.policy.rules[0].priority == "high"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("{maxInFlight: 1}", 30.0),
        ("{maxInFlight: 1, maxWait: 5s, priorities: [{name: a}, {name: b, maxWait: 1m}]}", 60.0),
        ("{maxInFlight: 1, maxWait: 5s, priorities: [{name: a, maxWait: 1s}, {name: b, sheddable: true}]}", 1.0),
    ],
)
def test_longest_wait(text: str, seconds: float) -> None:
    """Of any request, by the priorities that there are."""
    found = admission(text)
    assert found is not None
    assert found.longest_wait_s == seconds


@pytest.mark.parametrize(
    ("text", "column", "code"),
    [
        ("{}", "admission:", "KP902"),
        ("{maxWait: 5s}", "admission:", "KP902"),
        ("{maxKvUsage: 0%}", "0%", "KP207"),
        ("{maxInFlight: 0}", "0}", "KP207"),
        ("{maxInFlight: 1, maxWait: 6m}", "6m", "KP207"),
        ("{maxInFlight: 1, tenantHeader: x-kvpilot-a}", "x-kvpilot-a", "KP209"),
        ("{maxInFlight: 1, defaultPriority: low}", "low", "KP301"),
        ("{maxInFlight: 1, defaultPriority: low, priorities: [{name: high}]}", "low", "KP301"),
        ("{maxInFlight: 1, priorities: [{name: a}, {name: a}]}", "a}]", "KP302"),
        ("{maxInFlight: 1, priorities: [{name: a, models: [nobody]}]}", "nobody", "KP301"),
        (
            "{maxInFlight: 1, priorities: [{name: a, kinds: [chat]}, {name: b, kinds: [chat]}]}",
            "kinds: [chat]}]",
            "KP902",
        ),
        ("{maxInFlight: 1, priorities: [{name: a, kinds: [song]}]}", "song", "KP208"),
        ("{maxInFlight: 1, priorities: [{name: a, sheddable: true, maxWait: 1s}]}", "1s", "KP902"),
        ("{maxInFlight: 1, priorities: [{kinds: [chat]}]}", "{kinds", "KP203"),
        ("on", "on", "KP204"),
    ],
)
def test_findings(text: str, column: str, code: str) -> None:
    """Each mistake is told once, where it stands."""
    policy = with_admission(text)
    found = load(policy, "p.yaml").diagnostics
    assert [str(one.code) for one in found] == [code]
    line = policy.splitlines()[found[0].line - 1]
    assert line[found[0].column - 1 :].startswith(column), line[found[0].column - 1 :]
