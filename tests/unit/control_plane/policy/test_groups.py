"""Groups of Envoys, what protects a change, runtime values: what can be written, and what is wrong with it."""

import pytest

from control_plane.policy import LoadResult, load
from control_plane.policy.model import Policy

BASE = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: 127.0.0.1:1}]}}
"""


def read(more: str, base: str = BASE) -> LoadResult:
    """The policy with more in it."""
    return load(base + more, "policy.yaml")


def policy(more: str, base: str = BASE) -> Policy:
    """The same, without findings."""
    result = read(more, base)
    assert result.diagnostics == ()
    assert result.document is not None
    return result.document.policy


def findings(more: str, base: str = BASE) -> list[tuple[int, int, str]]:
    """Line, column and code of all findings."""
    return [(found.line, found.column, found.code) for found in read(more, base).diagnostics]


def test_defaults() -> None:
    """No groups, a soak of 5 s, half of everything may go."""
    found = policy("")
    assert (found.groups, found.runtime) == ((), {})
    assert (found.safety.max_removed_percent, found.safety.soak_s, found.safety.timeout_s) == (50, 5.0, 30.0)


def test_everything() -> None:
    """All keys, one alternative or several."""
    found = policy("""\
groups:
  - name: canary
    appliesTo:
      nodeId: {prefix: edge-canary-}
      cluster: [{exact: edge}, {regex: "edge-[0-9]+"}]
      metadata: {env.stage: {exact: canary}}
    rollout: first
safety: {maxRemovedPercent: 100, soak: 0s, timeout: 1m}
runtime: {a.flag: true, a.number: 1.5, a.text: some text, a.digits: "7"}
""")
    (group,) = found.groups
    assert [match.prefix for match in group.applies_to.node_id] == ["edge-canary-"]
    assert [(match.exact, match.regex) for match in group.applies_to.cluster] == [("edge", None), (None, "edge-[0-9]+")]
    assert [match.exact for match in group.applies_to.metadata["env.stage"]] == ["canary"]
    assert group.rollout == "first"
    assert (found.safety.max_removed_percent, found.safety.timeout_s) == (100, 60.0)
    assert found.runtime == {"a.flag": True, "a.number": 1.5, "a.text": "some text", "a.digits": 7.0}


def test_listeners_name_groups() -> None:
    """Those of the file and the one that is always there; another one is an unknown name."""
    base = BASE.replace("8080}", "8080, groups: [canary, default]}")
    groups = "groups: [{name: canary, appliesTo: {nodeId: {exact: a}}}]\n"
    assert policy(groups, base).listeners[0].groups == ("canary", "default")
    assert findings("", base) == [(2, 62, "KP301")]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("groups: [{name: default, appliesTo: {nodeId: {exact: a}}}]\n", [(5, 17, "KP309")]),
        ("groups: [{name: a, appliesTo: {nodeId: {exact: a}}, identities: [x]}]\n", [(5, 53, "KP310")]),
        # Beside errors of other kinds, not only once those are mended.
        (
            "groups: [{name: default, appliesTo: {}, identities: [x], rollout: 1}]\nruntime: {a: [1]}\n",
            [(5, 67, "KP208"), (6, 14, "KP204")],
        ),
        (
            "groups: [{name: default, appliesTo: {}, identities: [x]}]\nruntime: {a: [1]}\n",
            [(5, 17, "KP309"), (5, 41, "KP310"), (6, 14, "KP204")],
        ),
        ("groups: [{name: a, appliesTo: {}}, {name: b, appliesTo: {nodeId: {exact: a}}}]\n", [(5, 36, "KP902")]),
        ("groups: [{name: a, appliesTo: {nodeId: {}}}]\n", [(5, 32, "KP203")]),
        ("groups: [{name: a, appliesTo: {nodeId: []}}]\n", [(5, 40, "KP213")]),
        ("groups: [{name: a, appliesTo: {zone: {regex: '('}}}]\n", [(5, 46, "KP206")]),
        ("groups: [{name: a, appliesTo: {zone: {exact: a, prefix: a}}}]\n", [(5, 57, "KP214")]),
        ("groups: [{name: a}]\n", [(5, 10, "KP203")]),
        ("groups: [{name: a, appliesTo: {}}, {name: a, appliesTo: {}}]\n", [(5, 43, "KP302")]),
        ("groups: [{name: a, appliesTo: {}, rollout: second}]\n", [(5, 44, "KP208")]),
        ("groups: [{name: a, appliesTo: {}, identities: ['a*b']}]\n", [(5, 48, "KP209")]),
        ("safety: {maxRemovedPercent: 101}\n", [(5, 29, "KP207")]),
        ("safety: {timeout: 0s}\n", [(5, 19, "KP207")]),
        ("runtime: {a: [1]}\n", [(5, 14, "KP204")]),
        ("runtime: {a: 1e999}\n", [(5, 14, "KP207")]),
        ("runtime: {'a b': 1}\n", [(5, 11, "KP209")]),
    ],
)
def test_findings(more: str, expected: list[tuple[int, int, str]]) -> None:
    """Each at its own place."""
    assert findings(more) == expected


def test_one_address_in_two_groups() -> None:
    """Two listeners may have one address if no Envoy has both."""
    groups = "groups: [{name: a, appliesTo: {nodeId: {exact: a}}}, {name: b, appliesTo: {nodeId: {exact: b}}}]\n"
    two = "listeners: [{name: one, address: 127.0.0.1:8080%s}, {name: two, address: 127.0.0.1:8080%s}]\n"
    listeners = BASE.splitlines(keepends=True)[1]
    apart = BASE.replace(listeners, two % (", groups: [a]", ", groups: [b, default]"))
    assert findings(groups, apart) == []
    together = BASE.replace(listeners, two % (", groups: [a]", ""))
    assert [code for *_, code in findings(groups, together)] == ["KP306"]
