"""Retry policies."""

from control_plane.compile.retries import retry_policy
from control_plane.policy.model import Retries
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING


def test_policy_in_envoys_words() -> None:
    """Attempts, conditions and codes come from the policy; no fixed limit per try."""
    found = retry_policy(Retries(attempts=3, retry_on="reset,5xx", retriable_status_codes=(503, 429)), EVERYTHING)
    assert found is not None
    assert (found["numRetries"], found["retryOn"]) == (3, "reset,5xx")
    assert found["retriableStatusCodes"] == [503, 429]
    assert "perTryTimeout" not in found


def test_no_attempts_is_no_policy() -> None:
    """Zero attempts leave the policy out, for Envoy takes 0 as 1 in places."""
    assert retry_policy(Retries(attempts=0), EVERYTHING) is None


def test_what_the_envoy_lacks_is_left_out() -> None:
    """Without the host predicate there is no count of draws either."""
    found = retry_policy(Retries(), NOTHING)
    assert found is not None
    assert not {"retryHostPredicate", "hostSelectionRetryMaxAttempts"} & set(found)
