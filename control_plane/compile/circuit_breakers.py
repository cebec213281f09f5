"""Limits on what one Envoy sends to a pool; what is over them is answered 503 at once (Envoy, "Circuit breaking")."""

from control_plane.compile.typed import Json
from control_plane.policy.limits import ConnectionPool


def circuit_breakers(settings: ConnectionPool) -> Json:
    """`Cluster.circuit_breakers`, for requests of Envoy's default priority, the only one that routes here have.

    A retry budget takes the place of the number of retries. For one endpoint Envoy knows a limit on connections alone
    and rejects any other (`per_host_thresholds`).
    """
    http, tcp = settings.http, settings.tcp
    thresholds: Json = {
        "maxConnections": tcp.max_connections,
        "maxPendingRequests": http.http1_max_pending_requests,
        "maxRequests": http.http2_max_requests,
    }
    if http.retry_budget is None:
        thresholds["maxRetries"] = http.max_retries
    else:
        thresholds["retryBudget"] = {
            "budgetPercent": {"value": http.retry_budget.percent},
            "minRetryConcurrency": http.retry_budget.min_retry_concurrency,
        }
    result: Json = {"thresholds": [thresholds]}
    if tcp.max_connections_per_endpoint is not None:
        result["perHostThresholds"] = [{"maxConnections": tcp.max_connections_per_endpoint}]
    return result
