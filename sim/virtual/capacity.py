"""How much of a fleet a trace takes: load 1 is what the engines could just do if nothing were computed twice.

Pure. The work of a request is what its uncached tokens cost where one infinite cache has all earlier prompts, plus its
share of the decode steps of a full batch. It is a lower bound, so the knee of a real rule, where waiting times begin to
grow without end, lies below 1: the further, the more it computes twice and the more unevenly it spreads.
"""

from math import fsum

from sim.profile import Profile
from sim.traces.trace import Trace


def load(trace: Trace, profile: Profile, engines: int) -> float:
    """The trace's work over the fleet's time; 0 for a trace whose requests all arrive at once."""
    return work_s(trace, profile) / (trace.duration_s * engines) if trace.duration_s else 0.0


def work_s(trace: Trace, profile: Profile) -> float:
    """Engine seconds that the trace takes at least."""
    batch = full_batch(trace, profile)
    base_s = profile.step_base_ms / 1e3 / batch
    request_s = profile.step_per_request_ms / 1e3
    read_s, pair_s = profile.kv_read_ns_per_token / 1e9, profile.attention_ns_per_pair / 1e9
    parts = []
    for request, shared in zip(trace.requests, trace.shared_tokens(), strict=True):
        uncached = max(1, request.prompt_tokens - shared)
        pairs = uncached * (2 * (request.prompt_tokens - uncached) + uncached + 1) // 2
        context = request.prompt_tokens + request.output_tokens / 2
        parts.append(uncached / profile.prefill_tokens_per_s + pairs * pair_s)
        parts.append(request.output_tokens * (base_s + request_s + context * read_s))
    return fsum(parts)


def full_batch(trace: Trace, profile: Profile) -> float:
    """How many of the trace's requests an engine decodes together at most: its limit, or what its memory holds."""
    if not trace.requests:
        return float(profile.max_batch)
    held = sum(request.prompt_tokens + request.output_tokens / 2 for request in trace.requests) / len(trace.requests)
    return max(1.0, min(float(profile.max_batch), profile.kv_tokens / held))
