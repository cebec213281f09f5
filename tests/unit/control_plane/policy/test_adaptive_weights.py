"""`trafficPolicy.loadBalancer.adaptiveWeights`, and whether anybody looks at weights."""

import pytest

from control_plane.policy import load
from control_plane.policy.adaptive_weights import AdaptiveWeights
from control_plane.policy.checks_weights import WEIGHTLESS
from control_plane.policy.strategies import STRATEGIES
from ext_proc.core.strategies import table
from tests.unit.control_plane.policy.samples import MINIMAL, document

TWO = "8000}, {address: 10.0.0.2:8000}], "


def with_pool(more: str) -> str:
    """The smallest policy with two endpoints and more keys of its pool."""
    return MINIMAL.replace("8000}]}}", f"{TWO}{more}}}}}")


def adaptive(more: str) -> AdaptiveWeights | None:
    """What that policy says."""
    pool = document(with_pool(f"trafficPolicy: {{loadBalancer: {{{more}}}}}")).policy.pools[0]
    return pool.traffic_policy.load_balancer.adaptive_weights


def findings(more: str, text: str = "") -> list[tuple[str, int, str]]:
    """Code, line and message of what is wrong with a policy."""
    result = load(text or with_pool(more), "policy.yaml")
    return [(one.code, one.line, one.message) for one in result.diagnostics]


def test_everything() -> None:
    """All keys of it; off without it."""
    assert adaptive("simple: ROUND_ROBIN") is None
    assert adaptive("adaptiveWeights: {}") == AdaptiveWeights()
    said = "{interval: 2s, maxStep: 50, minPercent: 5, maxPercent: 10000, halfLife: 1h}"
    assert adaptive(f"adaptiveWeights: {said}") == AdaptiveWeights(
        interval_s=2.0, max_step=50, min_percent=5, max_percent=10_000, half_life_s=3600.0
    )


@pytest.mark.parametrize(
    "said",
    [
        "minPercent: 4",
        "minPercent: 101",
        "maxPercent: 99",
        "maxStep: 0",
        "maxStep: 51",
        "interval: 900ms",
        "halfLife: 4s",
    ],
)
def test_bounds(said: str) -> None:
    """Never to zero, never by leaps, never faster than can be measured."""
    (found,) = findings(f"trafficPolicy: {{loadBalancer: {{adaptiveWeights: {{{said}}}}}}}")
    assert found[0] in ("KP206", "KP207")


@pytest.mark.parametrize("balancer", ["simple: RANDOM", "clientSideWeighted: {}"])
def test_when_nobody_looks_at_weights(balancer: str) -> None:
    """Neither the strategy nor Envoy's own choices: a warning. One of the two is enough."""
    blind = f"trafficPolicy: {{loadBalancer: {{{balancer}, adaptiveWeights: {{}}}}}}"
    ((code, line, message),) = findings(blind)
    assert code == "KP902"
    assert with_pool(blind).splitlines()[line - 1].find("adaptiveWeights") > 0
    assert message == "`adaptiveWeights` does nothing: neither `kv-aware` nor the load balancer looks at weights"
    assert findings(f"{blind}, picker: {{strategy: weighted}}") == []
    assert findings("trafficPolicy: {loadBalancer: {adaptiveWeights: {}}}") == []


def test_a_single_endpoint() -> None:
    """Has nobody to be compared with; what discovery finds may be more."""
    alone = "trafficPolicy: {loadBalancer: {adaptiveWeights: {}}}"
    text = MINIMAL.replace("8000}]}}", f"8000}}], {alone}}}}}")
    assert findings("", text) == [
        (
            "KP902",
            text[: text.index("adaptiveWeights")].count("\n") + 1,
            "`adaptiveWeights` does nothing with a single endpoint",
        )
    ]


def test_strategies_that_do_not_look() -> None:
    """Are exactly those in whose rules weights do not occur."""
    for name in STRATEGIES:
        assert name in table.STRATEGIES
        rule = table.strategy(name)
        code = (rule.rank.__func__ if hasattr(rule.rank, "__func__") else rule.rank).__code__
        assert ("weights" in code.co_names) == (name not in WEIGHTLESS), name
