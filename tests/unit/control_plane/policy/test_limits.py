"""What a policy says about connections and requests."""

from control_plane.policy.declare import settings_of
from control_plane.policy.limits import HttpSettings, TcpSettings
from tests.unit.control_plane.policy.samples import places, with_pool


def test_istio_words() -> None:
    """The keys are those of Istio's ConnectionPoolSettings, with what Envoy has beyond it."""
    assert {setting.key for setting in settings_of(TcpSettings)} >= {
        "maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration",
    }  # fmt: skip
    assert {setting.key for setting in settings_of(HttpSettings)} >= {
        "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "idleTimeout",
        "h2UpgradePolicy", "maxConcurrentStreams",
    }  # fmt: skip


def test_what_is_off_by_default_can_be_written_so() -> None:
    """`off` is the default in words."""
    text = with_pool(
        "endpoints: [{address: 10.0.0.1:8000}]\n"
        "trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: off, maxConnectionDuration: off, "
        "maxConnectionsPerEndpoint: off}, http: {retryBudget: off, maxConcurrentStreams: off}}}"
    )
    assert places(text) == []
