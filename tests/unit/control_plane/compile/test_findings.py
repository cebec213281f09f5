"""What only shows in what a policy compiles to, each at its place."""

import pytest

from control_plane.compile.findings import findings
from control_plane.policy import load
from control_plane.policy.codes import Code
from protos.messages import load as load_messages
from tests.unit.control_plane.policy.samples import FILE, MINIMAL, document, place

PATCHES = MINIMAL + "envoyPatch:\n"
"""The first patch stands in line 6."""


def found(patches: str) -> list[str]:
    """Findings as `line:column code`."""
    return [place(each) for each in findings(document(PATCHES + patches), load_messages())]


def cluster(operations: str) -> str:
    """A patch of the pool's cluster; its operations are in line 7, from column 13 on."""
    return f"- {{name: p, kind: cluster, resource: pool/chat,\n    patch: [{operations}]}}\n"


def test_no_patches_no_findings() -> None:
    """Nothing is compiled for a policy without patches."""
    assert findings(document(MINIMAL), load_messages()) == ()


@pytest.mark.parametrize(
    "operations",
    [
        "{op: replace, path: /connectTimeout, value: 3s}",
        "{op: add, path: /circuitBreakers/thresholds/0/trackRemaining, value: false}",
        "{op: add, path: /metadata, value: {filterMetadata: {x: {n: 1.5, b: true, s: '1', l: [1, null]}}}}",
        "{op: test, path: /name, value: pool/chat}, {op: add, path: /altStatName, value: on}",
    ],
)
def test_patches_that_fit(operations: str) -> None:
    """Values have their own types."""
    assert found(cluster(operations)) == []


@pytest.mark.parametrize(
    ("patches", "expected"),
    [
        ("- {name: p, kind: cluster, resource: pool/chta, patch: [{op: remove, path: /x}]}\n", ["6:38 KP403"]),
        ("- {name: p, kind: listener, resource: pool/chat, patch: [{op: remove, path: /x}]}\n", ["6:39 KP403"]),
        (cluster("{op: add, path: /altStatName, value: a}, {op: remove, path: /x}"), ["7:73 KP404"]),
        (cluster("{op: replace, path: /name, value: other}"), ["7:5 KP404"]),
        (cluster("{op: add, path: /altStatsName, value: a}"), ["7:5 KP405"]),
        (cluster("{op: replace, path: /connectTimeout, value: 3}"), ["7:5 KP405"]),
        (cluster("{op: add, path: /connect_timeout, value: 3s}"), ["7:5 KP405"]),
        (cluster("{op: add, path: /metadata, value: {typedFilterMetadata: {x: {'@type': a/b}}}}"), ["7:5 KP405"]),
    ],
)
def test_patches_that_do_not_fit(patches: str, expected: list[str]) -> None:
    """No such resource, no such place, a changed name, no valid message."""
    assert found(patches) == expected


def test_every_patch_is_judged_by_itself() -> None:
    """All errors at once; one that fails does not hide the next, and one that fits is there for those behind it."""
    patches = (
        "- {name: a, kind: cluster, resource: pool/chat, patch: [{op: remove, path: /x}]}\n"
        "- {name: b, kind: cluster, resource: pool/chat, patch: [{op: add, path: /altStatName, value: x}]}\n"
        "- {name: c, kind: cluster, resource: pool/chat, patch: [{op: test, path: /altStatName, value: x}]}\n"
        "- {name: d, kind: route, resource: openai, patch: [{op: remove, path: /y}]}\n"
    )
    assert [line.partition(":")[0] for line in found(patches)] == ["6", "9"]


def test_listeners_of_every_group_can_be_patched() -> None:
    """A listener that only canaries have is there to be patched."""
    text = MINIMAL.replace("8080}", "8080, groups: [canary]}")
    text += "groups: [{name: canary, appliesTo: {cluster: {exact: x}}}]\nenvoyPatch:\n"
    patch = "- {name: p, kind: listener, resource: openai, patch: [{op: test, path: /name, value: openai}]}\n"
    assert load(text + patch, FILE).document is not None
    assert findings(document(text + patch), load_messages()) == ()


def test_endpoints_that_are_found_elsewhere() -> None:
    """Which endpoints there will be is not known here, so a patch of them is not refused for what is not there yet."""
    patch = (
        "- {name: p, kind: endpoints, resource: pool/chat, patch: [{op: add, path: /endpoints/3/priority, value: 1}]}\n"
    )
    assert found(patch) == ["6:75 KP404"]
    text = PATCHES.replace("address: 10.0.0.1:8000", "dns: pods.example:8000") + patch
    assert findings(document(text), load_messages()) == ()


def test_codes() -> None:
    """The three codes of this module are errors."""
    assert not any(code.is_warning for code in (Code.PATCH_TARGET, Code.PATCH_FAILS, Code.PATCH_RESULT))
