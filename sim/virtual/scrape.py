"""What a router reads from a pod's metrics, and when it knows it. Pure."""

from ext_proc.core import events as told
from sim.virtual.pod import Pod
from sim.virtual.setup import Setup

TIMEOUT_S = 1.0
"""A scrape of a pod that stands still is given up after this time, as kvpilot's own scraper does."""


def scraped(pod: Pod, setup: Setup, now: float) -> tuple[float, told.Scraped | told.ScrapeFailed]:
    """When the router knows what came of a scrape at `now`, and what it was; after `pod.advance`."""
    if pod.is_down:
        return now + setup.network_s, told.ScrapeFailed(address=pod.address, at=now, reason="refused")
    if pod.is_hung:
        return now + TIMEOUT_S, told.ScrapeFailed(address=pod.address, at=now, reason="timeout")
    return now + setup.scrape_delay_s, _numbers(pod, now)


def _numbers(pod: Pod, now: float) -> told.Scraped:
    gauges, profile = pod.gauges(), pod.profile
    has_slots = profile.engine == "llamacpp"  # it tells how many, and has no blocks
    return told.Scraped(
        address=pod.address,
        at=now,
        running=gauges.running,
        waiting=gauges.waiting,
        kv_usage=gauges.kv_usage,
        block_size=None if has_slots else profile.block_size,
        kv_tokens=profile.kv_tokens,
        max_running=profile.max_batch if has_slots else None,
    )
