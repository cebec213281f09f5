"""A lower bound of the times to first token: what no router can beat, on any number of engines.

Computed, not routed: each request meets an idle engine that has computed everything that came before it in the trace
(prompts and, where the trace knows them, answers), even what is still being computed elsewhere. Its time to first token
is then its prefill alone. The network is left out. Where an engine's memory is small or the load is high, the bound is
far below what is possible; near zero load and with large caches a perfect router reaches it.
"""

from dataclasses import dataclass
from statistics import fmean

from sim.profile import Profile
from sim.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class LowerBound:
    """The bound over one trace."""

    ttft_s: tuple[float, ...]
    """Seconds per request, in the trace's order."""

    cached_share: float
    """Prompt tokens that came before, of all prompt tokens: at most this share can be cached."""

    @property
    def mean_ttft_s(self) -> float:
        """The mean; 0 for an empty trace."""
        return fmean(self.ttft_s) if self.ttft_s else 0.0


def lower_bound(trace: Trace, profile: Profile) -> LowerBound:
    """The bound; all tokens but a prompt's last may come from the cache."""
    times, cached_tokens = [], 0
    for request, shared in zip(trace.requests, trace.shared_tokens(), strict=True):
        cached = min(shared, request.prompt_tokens - 1)
        cached_tokens += cached
        times.append(profile.prefill_s(request.prompt_tokens - cached, cached))
    total = trace.prompt_tokens
    return LowerBound(tuple(times), cached_tokens / total if total else 0.0)
