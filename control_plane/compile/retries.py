"""How a pool's requests are tried again."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.typed import Json, duration, extension
from control_plane.policy.model import Retries

BACK_OFF_S = 0.01
BACK_OFF_MAX_S = 0.1
"""The next try goes to another pod, so there is nothing to wait out; a little jitter keeps bursts apart. Envoy's
default starts at 25 ms."""

HOST_SELECTION_ATTEMPTS = 5
"""How often Envoy's own policy draws again when it hit a host that was tried already; Envoy's default is one draw."""


def retry_policy(retries: Retries, capabilities: Capabilities) -> Json | None:
    """Envoy's retry policy, None where the policy wants no second try.

    There is no `perTryTimeout`: the limit of a try depends on the request (prompt length, streamed or not) and comes in
    a header. Hosts that the picker named are taken in order and without the host predicate; it serves the fallback.
    """
    if retries.attempts == 0:
        return None
    policy: Json = {
        "retryOn": retries.retry_on,
        "numRetries": retries.attempts,
        "retryBackOff": {"baseInterval": duration(BACK_OFF_S), "maxInterval": duration(BACK_OFF_MAX_S)},
    }
    if retries.retriable_status_codes:
        policy["retriableStatusCodes"] = list(retries.retriable_status_codes)
    if capabilities.has(Feature.AVOID_PREVIOUS_HOSTS):
        policy["retryHostPredicate"] = [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ]
        policy["hostSelectionRetryMaxAttempts"] = HOST_SELECTION_ATTEMPTS
    return policy
