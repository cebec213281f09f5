"""`pools.NAME.health`."""

import pytest

from control_plane.policy import load
from control_plane.policy.endpoint_health import EndpointHealth, HealthMirror, Probe
from tests.unit.control_plane.policy.samples import MINIMAL, document


def with_pool(more: str) -> str:
    """The smallest policy with more keys of its pool."""
    return MINIMAL.replace("8000}]}}", f"8000}}], {more}}}}}")


def health(more: str) -> EndpointHealth:
    """What that policy says of health."""
    return document(with_pool(more)).policy.pools[0].health


def test_everything() -> None:
    """All keys of it; without any there is everything, at the usual numbers."""
    assert health("engine: vllm") == EndpointHealth()
    assert health("health: {}") == EndpointHealth()
    found = health(
        "health: {attempts: false, scrapes: false, heartbeatTimeout: 1m, maxKvUsage: 90%, stuckAfter: 2m, failures: 5, "
        "successes: 1, probe: {path: /ready, interval: 1s, timeout: 500ms, models: false}, "
        "mirror: {after: 1s, clearAfter: 10s, maxPercent: 20}}"
    )
    assert found == EndpointHealth(
        attempts=False,
        scrapes=False,
        heartbeat_timeout_s=60.0,
        max_kv_usage=90,
        stuck_after_s=120.0,
        failures=5,
        successes=1,
        probe=Probe(path="/ready", interval_s=1.0, timeout_s=0.5, models=False),
        mirror=HealthMirror(after_s=1.0, clear_after_s=10.0, max_percent=20),
    )


def test_off() -> None:
    """Each input by itself."""
    found = health("health: {heartbeatTimeout: off, maxKvUsage: off, stuckAfter: off, mirror: off}")
    assert (found.heartbeat_timeout_s, found.max_kv_usage, found.stuck_after_s, found.mirror) == (None,) * 4
    asked = health("health: {probe: off, gpu: off, trial: off}")
    assert (asked.probe, asked.gpu, asked.trial) == (None,) * 3


@pytest.mark.parametrize(
    ("more", "at", "code"),
    [
        ("health: {maxKvUsage: 0}", "0}", "KP207"),
        ("health: {maxKvUsage: 101}", "101", "KP207"),
        ("health: {failures: 0}", "0}", "KP207"),
        ("health: {stuckAfter: 0s}", "0s", "KP207"),
        ("health: {mirror: {maxPercent: 51}}", "51", "KP207"),
        ("health: {mirror: on}", "on", "KP204"),
        ("health: {probe: {path: health}}", "health}", "KP209"),
        ("health: {probe: {timeout: 2m}}", "2m", "KP207"),
        ("health: {probes: {}}", "probes", "KP201"),
        ("engine: sglang, health: {stuckAfter: 5s}", "5s", "KP902"),
        ("scrape: off, health: {stuckAfter: 5s}", "5s", "KP902"),
        ("scrape: off, health: {scrapes: true}", "true", "KP902"),
    ],
)
def test_findings(more: str, at: str, code: str) -> None:
    """Each at its place."""
    text = with_pool(more)
    (found,) = load(text, "p.yaml").diagnostics
    line = text.splitlines()[found.line - 1]
    assert (str(found.code), line[found.column - 1 :].startswith(at)) == (code, True), found


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ("engine: sglang, healthCheck: {http: {path: /health}}", 1),
        ("engine: sglang, healthCheck: {http: {path: /health}, timeout: 2s}", 0),
        ("engine: sglang, healthCheck: {http: {path: /ready}}", 0),
        ("engine: sglang, healthCheck: {http: {path: /health}, port: 9000}", 0),
        ("engine: vllm, healthCheck: {http: {path: /health}}", 0),
        ("engine: sglang, health: {probe: {path: /health_generate, timeout: 1s}}", 1),
        ("engine: sglang, health: {probe: {}}", 0),
    ],
)
def test_a_page_that_takes_longer_than_its_check(more: str, count: int) -> None:
    """SGLang generates a token for it: a warning where no check can succeed."""
    assert [str(found.code) for found in load(with_pool(more), "p.yaml").diagnostics] == ["KP911"] * count
