"""`pools.NAME.drain`."""

import pytest

from control_plane.policy.loader import load

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: 127.0.0.1:1}], MORE}}
"""


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ("timeouts: {}", 600.0),
        ("timeouts: {request: 20m}", 1_200.0),
        ("timeouts: {request: 20m}, drain: {timeout: 90s}", 90.0),
        ("drain: {}", 600.0),
    ],
)
def test_how_long(more: str, seconds: float) -> None:
    """As it says, else as long as a request may take."""
    document = load(POLICY.replace("MORE", more), "policy.yaml").document
    assert document is not None
    assert document.policy.pool("p").drain_timeout_s == seconds


@pytest.mark.parametrize(
    ("more", "finding"),
    [
        ("drain: {timeout: 0s}", "4:67 KP207"),
        ("drain: {timeout: 25h}", "4:67 KP207"),
        ("drain: {timeout: soon}", "4:67 KP206"),
        ("drain: {timeuot: 1s}", "4:58 KP201"),
        ("drain: 30s", "4:57 KP204"),
    ],
)
def test_findings(more: str, finding: str) -> None:
    """Each at its place."""
    (found,) = load(POLICY.replace("MORE", more), "policy.yaml").diagnostics
    assert f"{found.line}:{found.column} {found.code}" == finding
