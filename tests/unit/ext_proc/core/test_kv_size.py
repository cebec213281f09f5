"""Sizes of KV memories that nobody tells: found by what is found again. The engine here is a plain list."""

import random
from collections import OrderedDict

import pytest

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.kv_size import KvSizes

TURNS = 3_000


class Cache:
    """An engine that keeps so many blocks, the least recently used going first. Mutable: `blocks`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: OrderedDict[int, None] = OrderedDict()

    def serve(self, prompt: tuple[int, ...]) -> int:
        """Tokens found; then it holds the prompt, its tail to go first."""
        found = 0
        for value in prompt:
            if value not in self.blocks:
                break
            found += BLOCK_TOKENS
        for value in reversed(prompt):
            self.blocks[value] = None
            self.blocks.move_to_end(value)
        while len(self.blocks) > self.size:
            self.blocks.popitem(last=False)
        return found


def prompts(seed: int, *, conversations: int = 200, blocks: int = 60) -> list[tuple[int, ...]]:
    """Prompts that come again, some soon and some late."""
    rng = random.Random(seed)
    all_ = [tuple(rng.getrandbits(64) for _ in range(blocks)) for _ in range(conversations)]
    return [all_[int(conversations * rng.random() ** 2)] for _ in range(TURNS)]


def learned(sizes: KvSizes, cache: Cache | None, asked: list[tuple[int, ...]], slot: int = 0) -> int | None:
    """The last size that was news."""
    last = None
    for n, prompt in enumerate(asked):
        sizes.picked(slot, f"{slot}-{n}", prompt, 0.0)
        found = None if cache is None else cache.serve(prompt)
        last = sizes.ended(slot, f"{slot}-{n}", len(prompt) * BLOCK_TOKENS, found) or last
    return last


@pytest.mark.parametrize("size", [1_000, 3_000, 8_000])
def test_the_size_is_found(size: int) -> None:
    """Within a quarter, by nothing but what answers tell."""
    assert learned(KvSizes(), Cache(size), prompts(size)) == pytest.approx(size, rel=0.25)


@pytest.mark.parametrize("size", [0, 10**9])
def test_what_cannot_be_known_is_left_alone(size: int) -> None:
    """Nothing is ever found, or everything: no size explains either."""
    assert learned(KvSizes(), Cache(size), prompts(1)) is None


def test_nobody_tells() -> None:
    """Without `cached_tokens` nothing is learned."""
    sizes = KvSizes()
    assert learned(sizes, None, prompts(1)) is None
    assert sizes.blocks(0) is None


def test_who_begins_to_tell() -> None:
    """Nothing is looked after of an endpoint that has never told what it found; from the first word on all of it is."""
    sizes = KvSizes()
    learned(sizes, None, prompts(1))
    assert not sizes._asked
    assert not sizes._endpoints[0].recent._place_of
    assert learned(sizes, Cache(3_000), prompts(2)) == pytest.approx(3_000, rel=0.25)


def test_chance_has_no_size() -> None:
    """What is found at every distance alike is parted by none."""
    rng, sizes, last = random.Random(2), KvSizes(), None
    for n, prompt in enumerate(prompts(3)):
        sizes.picked(0, f"{n}", prompt, 0.0)
        last = sizes.ended(0, f"{n}", len(prompt) * BLOCK_TOKENS, rng.choice((0, 3_500))) or last
    assert last is None


def test_a_new_endpoint_is_like_the_others() -> None:
    """What is known of one is believed of the next until that has shown something itself."""
    sizes = KvSizes()
    learned(sizes, Cache(2_000), prompts(1))
    assert sizes.blocks(0) == pytest.approx(2_000, rel=0.25)
    assert sizes.blocks(1) == pytest.approx(2_000, rel=0.25)
    learned(sizes, Cache(6_000), prompts(2), slot=1)
    assert sizes.blocks(1) == pytest.approx(6_000, rel=0.25)


def test_what_is_told_wins() -> None:
    """A told size is tokens; how many of our blocks they are is told by answers."""
    sizes = KvSizes()
    learned(sizes, Cache(2_000), prompts(1))
    sizes.told(0, 640_000)
    assert sizes.blocks(0) == pytest.approx(10_000, rel=0.02)
    news = None
    for n, prompt in enumerate(prompts(2)[:400]):  # 128 tokens in each block of text
        sizes.picked(0, f"{n}", prompt, 0.0)
        news = sizes.ended(0, f"{n}", round((len(prompt) - 0.5) * 128), None) or news
    assert sizes.blocks(0) == pytest.approx(5_000, rel=0.01)
    assert news == pytest.approx(5_000, rel=0.06)


@pytest.mark.parametrize("prompt", [10**14, 1, 0])
def test_nonsense_moves_nothing(prompt: int) -> None:
    """Prompts that no tokenizer makes of so many blocks."""
    sizes = KvSizes()
    sizes.told(0, 640_000)
    for n, blocks in enumerate(prompts(2)[:50]):
        sizes.picked(0, f"{n}", blocks, 0.0)
        sizes.ended(0, f"{n}", prompt, 5)
    assert sizes.blocks(0) == 10_000


def test_a_restart_empties_it() -> None:
    """What was used before it is not missed after it."""
    sizes, cache = KvSizes(), Cache(10**9)
    asked = prompts(4)
    learned(sizes, cache, asked[:500])
    cache.blocks.clear()
    sizes.restarted(0)
    assert learned(sizes, cache, asked[500:]) is None


def test_answers_of_others_teach_nothing() -> None:
    """Served elsewhere, never asked about, or told nonsense."""
    sizes, cache = KvSizes(), Cache(1_000)
    for n, prompt in enumerate(prompts(5)):
        sizes.picked(0, f"{n}", prompt, 0.0)
        found = cache.serve(prompt)
        assert sizes.ended(1, f"{n}", len(prompt) * BLOCK_TOKENS, found) is None
        assert sizes.ended(0, f"{n}", len(prompt) * BLOCK_TOKENS, found) is None
    sizes.forget(0)
    assert sizes.blocks(0) is None
