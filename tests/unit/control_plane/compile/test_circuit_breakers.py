"""Circuit breakers."""

from control_plane.compile.circuit_breakers import circuit_breakers
from control_plane.policy.limits import ConnectionPool, HttpSettings, RetryBudget, TcpSettings


def test_a_budget_takes_the_place_of_a_number() -> None:
    """Retries are bounded by one of the two."""
    assert circuit_breakers(ConnectionPool())["thresholds"] == [
        {"maxConnections": 4096, "maxPendingRequests": 1024, "maxRequests": 4096, "maxRetries": 1024}
    ]
    budget = HttpSettings(retry_budget=RetryBudget(percent=0, min_retry_concurrency=0))
    assert circuit_breakers(ConnectionPool(http=budget))["thresholds"] == [
        {
            "maxConnections": 4096,
            "maxPendingRequests": 1024,
            "maxRequests": 4096,
            "retryBudget": {"budgetPercent": {"value": 0}, "minRetryConcurrency": 0},
        }
    ]


def test_connections_per_endpoint() -> None:
    """The only limit that Envoy takes for a single endpoint."""
    found = circuit_breakers(ConnectionPool(tcp=TcpSettings(max_connections_per_endpoint=8)))
    assert found["perHostThresholds"] == [{"maxConnections": 8}]
    assert "perHostThresholds" not in circuit_breakers(ConnectionPool())
