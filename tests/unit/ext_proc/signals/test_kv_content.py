"""What blocks are made of beside their tokens."""

from typing import Any

import pytest

from ext_proc.core.token_blocks import chain_start, token_bytes
from ext_proc.signals.kv_content import content_of, start_of
from tests.unit.ext_proc.signals.kv_samples import stored

IDS = list(range(64))
TOKENS = token_bytes(IDS)


@pytest.mark.parametrize(
    ("told", "start"),
    [
        ({}, chain_start("base")),
        ({"salt": "s"}, chain_start("base", "s")),
        ({"extras": (["s"],)}, chain_start("base", "s")),
        ({"adapter": "lora"}, chain_start("lora")),
        ({"adapter": "lora", "extras": (["lora", "s"],)}, chain_start("lora", "s")),
        ({"adapter": "lora", "extras": (["lora"],)}, chain_start("lora")),
        ({"extras": ([["image", 3]],)}, chain_start("base")),
    ],
)
def test_start(told: dict[str, Any], start: int) -> None:
    """The adapter or the model, and the salt: from a field of its own, or from what the engine hashed first."""
    assert start_of(stored([1], IDS, 64, **told), "base") == start


@pytest.mark.parametrize(
    "told",
    [{}, {"extras": (None,)}, {"extras": ([],)}, {"extras": (["salt"],)}, {"adapter": "a", "extras": (["a"],)}],
)
def test_tokens_are_the_content(told: dict[str, Any]) -> None:
    """Where nothing else was hashed, or only what the chain's start has already."""
    assert content_of(stored([1], IDS, 64, **told), 0, TOKENS) == TOKENS


@pytest.mark.parametrize("extra", [["image", 3], 3, "text"])
def test_what_else_was_hashed_makes_another_content(extra: Any) -> None:
    """Of the same length; another one for another image, and for other tokens; a word behind the start is no salt."""
    event = stored([1, 2], IDS, 32, parent=7, extras=([extra], [["another", extra]]))
    first, second = (content_of(event, index, TOKENS) for index in (0, 1))
    assert len({TOKENS, first, second, content_of(event, 0, TOKENS[::-1])}) == 4
    assert len(first) == len(second) == len(TOKENS)
    assert first == content_of(event, 0, TOKENS)
