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


def test_pauses() -> None:
    """The longest pause is ten times the first one unless the policy says it."""
    found = retry_policy(Retries(backoff_s=0.05), EVERYTHING)
    assert found is not None
    assert found["retryBackOff"] == {"baseInterval": "0.05s", "maxInterval": "0.5s"}
    found = retry_policy(Retries(backoff_s=0.05, max_backoff_s=0.05), EVERYTHING)
    assert found is not None
    assert found["retryBackOff"] == {"baseInterval": "0.05s", "maxInterval": "0.05s"}


def test_where_a_retry_goes() -> None:
    """Away from hosts that were tried, unless they do not matter; to other priorities if that is asked for."""
    found = retry_policy(Retries(retry_ignore_previous_hosts=False), EVERYTHING)
    assert found is not None
    assert not {"retryHostPredicate", "retryPriority"} & set(found)
    found = retry_policy(Retries(retry_remote_localities=True), EVERYTHING)
    assert found is not None
    assert found["retryPriority"]["typedConfig"]["updateFrequency"] == 1  # type: ignore[index]
    found = retry_policy(Retries(retry_remote_localities=True), NOTHING)
    assert found is not None
    assert "retryPriority" not in found


def test_headers_of_answers() -> None:
    """A header's presence is enough."""
    found = retry_policy(Retries(retriable_headers=("x-a",)), EVERYTHING)
    assert found is not None
    assert found["retriableHeaders"] == [{"name": "x-a", "presentMatch": True}]
