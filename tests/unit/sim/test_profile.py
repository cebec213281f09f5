"""What a profile accepts."""

from dataclasses import replace

import pytest

from sim.profile import DEMO, Profile


def test_demo_holds_about_sixty_thousand_tokens() -> None:
    """The demo's memory is a few long chats, so that eviction is seen soon."""
    assert DEMO.kv_tokens == 60_000


@pytest.mark.parametrize(
    "numbers",
    [
        {"block_size": 0},
        {"kv_blocks": 0},
        {"max_batch": 0},
        {"max_batch": 8, "token_budget": 7},
        {"prefill_tokens_per_s": 0},
        {"step_base_ms": 0},
        {"step_per_request_ms": -1},
        {"attention_ns_per_pair": -1},
        {"kv_read_ns_per_token": -1},
        {"max_waiting": -1},
        {"ram_tokens": -1},
    ],
)
def test_impossible_numbers_are_refused(numbers: dict[str, int]) -> None:
    """An engine that could not make progress is not built."""
    with pytest.raises(ValueError, match="must"):
        replace(DEMO, **numbers)  # type: ignore[arg-type]


def test_memory_is_multiplied() -> None:
    """In whole blocks, of which at least one is left."""
    assert DEMO.with_memory(0.25).kv_blocks == 937
    assert DEMO.with_memory(4) == replace(DEMO, kv_blocks=15_000)
    with pytest.raises(ValueError, match="kv_blocks"):
        DEMO.with_memory(0.0001)


def test_blocks_of_another_size_hold_the_same_tokens() -> None:
    """60,000 tokens are 117 blocks of 512; what does not fill one is lost."""
    coarse = DEMO.with_block_size(512)
    assert (coarse.block_size, coarse.kv_blocks, coarse.max_batch) == (512, 117, DEMO.max_batch)
    with pytest.raises(ValueError, match="block_size must be at least 1"):
        DEMO.with_block_size(0)


def test_a_long_prefill_takes_a_step_per_chunk() -> None:
    """1,100 tokens under a budget of 512 are three steps: 3 x 7.6 ms and 220 ms."""
    assert DEMO.prefill_s(1_100) == pytest.approx(3 * 0.0076 + 0.22)
    with pytest.raises(ValueError, match="at least one token"):
        DEMO.prefill_s(0)


def test_cached_context_costs_attention_only() -> None:
    """100 tokens after 1,000 cached ones: 100 x 1,000 + 5,050 pairs."""
    profile = Profile(attention_ns_per_pair=10.0)
    assert profile.prefill_s(100, context=1_000) - DEMO.prefill_s(100) == pytest.approx(105_050 * 10e-9)
