"""Simulated pods for tests: quick engines, in the test's own process."""

from sim.engine import Profile
from sim.fleet import SimFleet, pod_specs

QUICK = Profile(prefill_tokens_per_s=100_000.0, step_base_ms=1.0, step_per_request_ms=0.02)
"""Fast enough that hundreds of requests take seconds, slow enough that streams overlap."""

TWO_MODELS = ("llama", "qwen")


def quick_fleet(count: int, *models: str, profile: Profile = QUICK) -> SimFleet:
    """`count` pods that serve `models` (default: both of `TWO_MODELS`)."""
    return SimFleet(pod_specs(count, models=models or TWO_MODELS, profile=profile))
