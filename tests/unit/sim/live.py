"""A fast engine and a bounded wait, for tests with live pods."""

from sim.engine import Profile

FAST = Profile(prefill_tokens_per_s=1e6, step_base_ms=1.0, step_per_request_ms=0.0)
"""Steps of 1 ms, so that no test waits; everything else as in the demo."""

LONG_ANSWER = 50_000
"""Tokens of an answer that no test waits for: at 1 ms each it would take 50 s."""
