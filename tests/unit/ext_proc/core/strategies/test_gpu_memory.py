"""`gpu-memory`."""

from ext_proc.core.events import Scraped
from ext_proc.core.strategies.gpu_memory import GpuMemory, Parameters
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def scraped(*usages: float, kv_tokens: int = 100_000) -> Pool:
    """Engines that report so much of their memory as used."""
    pool = Pool(len(usages))
    for address, usage in zip(pool.addresses, usages, strict=True):
        scrape = Scraped(address=address, at=0.0, running=1, waiting=0, kv_usage=usage, kv_tokens=kv_tokens)
        pool.fleet.apply(scrape, None)
    return pool


def test_the_most_free_first() -> None:
    """In the order of what is free."""
    assert scraped(0.5, 0.2, 0.9).order(GpuMemory(), scraped(0.5, 0.2, 0.9).view()) == [1, 0, 2]


def test_who_is_full_comes_last() -> None:
    """Also where it has the most free tokens, being the largest; when all are full, the least used is named."""
    pool = scraped(0.96, 0.9)
    large = Scraped(address=pool.addresses[0], at=0.0, running=1, waiting=0, kv_usage=0.96, kv_tokens=10_000_000)
    pool.fleet.apply(large, None)
    assert pool.order(GpuMemory(), pool.view()) == [1, 0]
    assert pool.order(GpuMemory(Parameters(maximum_usage=0.97)), pool.view()) == [0, 1]
    assert pool.order(GpuMemory(Parameters(maximum_usage=0.5)), pool.view()) == [1, 0]
    assert "all memories full" in ranked(GpuMemory(Parameters(maximum_usage=0.5)), pool.view()).reason


def test_a_burst_does_not_herd() -> None:
    """Between two scrapes, long prompts go to the emptiest one only until it is as full as the others."""
    pool = scraped(0.5, 0.1)
    chosen = []
    for seed in range(8):
        best = pool.order(GpuMemory(), pool.view(), seed)[0]
        chosen.append(best)
        pool.send(best, uncached=10_000)
    assert chosen[:4] == [1, 1, 1, 1]
    assert sorted(chosen[4:]) == [0, 0, 1, 1]


def test_equals_are_chosen_by_load_then_at_random() -> None:
    """Idle engines say nothing: their memory is all free."""
    pool = scraped(0.0, 0.0, 0.0)
    pool.send(1, times=2)
    assert pool.chosen(GpuMemory(), pool.view()) == {0, 2}
