"""What a profile accepts."""

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
        {"max_waiting": -1},
    ],
)
def test_impossible_numbers_are_refused(numbers: dict[str, int]) -> None:
    """An engine that could not make progress is not built."""
    with pytest.raises(ValueError, match="must"):
        Profile(**numbers)
