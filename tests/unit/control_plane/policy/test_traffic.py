"""What protects a pool."""

from control_plane.policy.containers import ListOf
from control_plane.policy.declare import settings_of
from control_plane.policy.traffic import RETRY_CONDITIONS, Retries


def test_default_conditions_are_known() -> None:
    """What is tried again by default is what Envoy knows, with the statuses that go with it."""
    assert set(Retries().retry_on.split(",")) <= set(RETRY_CONDITIONS)
    assert "retriable-status-codes" in Retries().retry_on


def test_lists_have_items_of_their_kind() -> None:
    """Statuses are a list, so that Istio's comma form is refused with a place and not misread."""
    kinds = {setting.key: setting.kind for setting in settings_of(Retries)}
    assert isinstance(kinds["retriableStatusCodes"], ListOf)


def test_istio_words() -> None:
    """The keys of retries are those of Istio's HTTPRetry, but for the fixed limit per try."""
    assert {setting.key for setting in settings_of(Retries)} >= {
        "attempts", "retryOn", "backoff", "retryIgnorePreviousHosts", "retryRemoteLocalities",
    }  # fmt: skip
    assert "perTryTimeout" in Retries.PLANNED
