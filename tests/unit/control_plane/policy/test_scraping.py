"""What a policy says about the engines' own numbers."""

from dataclasses import fields

import pytest

from control_plane.policy import load
from control_plane.policy.model import Pool
from control_plane.policy.scraping import Metrics, Scrape
from ext_proc.signals.engines.custom import NAMEABLE
from tests.unit.control_plane.policy.samples import MINIMAL, document


def with_pool(more: str) -> str:
    """The smallest policy with more keys of its pool."""
    return MINIMAL.replace("8000}]}}", f"8000}}], {more}}}}}")


def pool(more: str) -> Pool:
    """The pool of that policy."""
    return document(with_pool(more)).policy.pools[0]


def test_defaults_and_off() -> None:
    """Engines are asked unless the policy says `off`."""
    assert pool("engine: vllm").scrape == Scrape()
    assert pool("scrape: off").scrape is None
    assert load(with_pool("engine: custom"), "p.yaml").diagnostics == ()


def test_every_number_has_a_key() -> None:
    """Whatever a custom engine's metric can be named for is a key, and nothing else."""
    assert {field.name for field in fields(Metrics)} == set(NAMEABLE)


def test_everything() -> None:
    """All keys of it."""
    found = pool(
        "engine: custom, scrape: {path: '/stats?all=1', port: 9100, interval: 1s, bearerTokenFile: token, metrics: "
        """{running: app_active, waiting: 'app_requests{state="queued"}', kvUsage: app_memory}}"""
    ).scrape
    assert found == Scrape(
        path="/stats?all=1",
        port=9100,
        interval_s=1.0,
        bearer_token_file="token",
        metrics=Metrics(running="app_active", waiting='app_requests{state="queued"}', kv_usage="app_memory"),
    )


@pytest.mark.parametrize(
    ("more", "column", "code"),
    [
        ("engine: custom, scrape: {metrics: {running: a}}", "{running", "KP203"),
        ("engine: custom, scrape: {metrics: {running: a, waiting: b, kvusage: c}}", "kvusage", "KP201"),
        ("engine: custom, scrape: {metrics: {running: a b, waiting: c}}", "a b", "KP209"),
        ("engine: custom, scrape: {metrics: {running: 'a{b=1}', waiting: c}}", "'a{b", "KP209"),
        ("scrape: {interval: 1ms}", "1ms", "KP207"),
        ("scrape: {path: metrics}", "metrics", "KP209"),
        ("scrape: {port: 0}", "0}", "KP207"),
        ("scrape: on", "on", "KP204"),
        ("scrape: {metrics: {running: a, waiting: b}}", "metrics", "KP902"),
        ("engine: custom, scrape: {path: /stats}", "custom", "KP902"),
    ],
)
def test_findings(more: str, column: str, code: str) -> None:
    """Each mistake is told once, where it stands."""
    text = with_pool(more)
    found = load(text, "p.yaml").diagnostics
    assert [str(one.code) for one in found] == [code]
    line = text.splitlines()[found[0].line - 1]
    assert line[found[0].column - 1 :].startswith(column), line[found[0].column - 1 :]
