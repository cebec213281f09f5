"""Ejections."""

from typing import Any

from control_plane.compile.outliers import outlier_detection
from control_plane.policy.outliers import FailurePercentage, OutlierDetection, SuccessRate
from tests.unit.control_plane.compile.samples import EVERYTHING, OLDEST


def detection(**settings: Any) -> dict[str, object]:
    """Envoy's settings for the policy's."""
    return outlier_detection(OutlierDetection(**settings), EVERYTHING)


def test_failed_connections_have_a_threshold_of_their_own() -> None:
    """By default that of 5xx answers; none at all where they are not counted apart."""
    assert detection(consecutive_5xx_errors=7)["consecutiveLocalOriginFailure"] == 7
    assert detection(consecutive_local_origin_failures=2)["consecutiveLocalOriginFailure"] == 2
    joined = detection(split_external_local_origin_errors=False)
    assert not {key for key in joined if "ocalOrigin" in key}


def test_gateway_errors_are_enforced_where_they_are_named() -> None:
    """Envoy's default is to count them and to do nothing."""
    assert detection(consecutive_gateway_errors=3).items() >= {
        "consecutiveGatewayFailure": 3, "enforcingConsecutiveGatewayFailure": 100,
    }.items()  # fmt: skip
    assert not {key for key in detection() if "Gateway" in key}


def test_rates() -> None:
    """Off unless asked for, and then for answers and for failed connections alike."""
    assert (detection()["enforcingSuccessRate"], detection()["enforcingLocalOriginSuccessRate"]) == (0, 0)
    assert not {key for key in detection() if "ailurePercentage" in key}
    found = detection(
        success_rate=SuccessRate(minimum_hosts=3, request_volume=9, stdev_factor=0.55, enforcing_percent=50),
        failure_percentage=FailurePercentage(threshold=40, minimum_hosts=2, request_volume=8, enforcing_percent=60),
    )
    assert found.items() >= {
        "enforcingSuccessRate": 50, "enforcingLocalOriginSuccessRate": 50, "successRateMinimumHosts": 3,
        "successRateRequestVolume": 9, "successRateStdevFactor": 550, "failurePercentageThreshold": 40,
        "enforcingFailurePercentage": 60, "enforcingFailurePercentageLocalOrigin": 60,
        "failurePercentageMinimumHosts": 2, "failurePercentageRequestVolume": 8,
    }.items()  # fmt: skip


def test_how_long_and_how_many() -> None:
    """Bounds on ejections; what is Envoy's default is not said."""
    found = detection(
        max_ejection_time_s=60.0,
        max_ejection_time_jitter_s=2.0,
        max_ejection_percent=34,
        always_eject_one_host=True,
        healthy_check_ends_ejection=False,
    )
    assert found.items() >= {
        "maxEjectionTime": "60s", "maxEjectionTimeJitter": "2s", "maxEjectionPercent": 34, "alwaysEjectOneHost": True,
        "successfulActiveHealthCheckUnejectHost": False,
    }.items()  # fmt: skip
    unsaid = {
        "maxEjectionTime",
        "maxEjectionTimeJitter",
        "alwaysEjectOneHost",
        "successfulActiveHealthCheckUnejectHost",
    }
    assert not unsaid & set(detection())


def test_degraded_hosts_only_where_the_envoy_knows_them() -> None:
    """The field is newer than the oldest Envoy."""
    settings = OutlierDetection(detect_degraded_hosts=True)
    assert outlier_detection(settings, EVERYTHING)["detectDegradedHosts"] is True
    assert "detectDegradedHosts" not in outlier_detection(settings, OLDEST)
