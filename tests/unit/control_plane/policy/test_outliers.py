"""What a policy says about ejections."""

from control_plane.policy.declare import settings_of
from control_plane.policy.outliers import OutlierDetection


def test_istio_words() -> None:
    """All keys of Istio's DestinationRule are there, under its names."""
    assert {setting.key for setting in settings_of(OutlierDetection)} >= {
        "consecutive5xxErrors",
        "consecutiveGatewayErrors",
        "consecutiveLocalOriginFailures",
        "splitExternalLocalOriginErrors",
        "interval",
        "baseEjectionTime",
        "maxEjectionPercent",
        "minHealthPercent",
    }


def test_nothing_is_asked_for_by_default_but_failures_in_a_row() -> None:
    """The statistical detectors and panic are off until the policy names them."""
    settings = OutlierDetection()
    assert (settings.success_rate, settings.failure_percentage, settings.min_health_percent) == (None, None, 0)
    assert settings.consecutive_5xx_errors == 5
