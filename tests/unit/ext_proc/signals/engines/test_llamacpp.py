"""llama.cpp's pages."""

import json

import pytest

from ext_proc.signals.engines.llamacpp import read_llamacpp, read_slots
from tests.unit.ext_proc.signals.pages import page


def test_versions() -> None:
    """New builds count what came from the cache, apart; old ones tell their memory, and no prompt as a whole."""
    assert read_llamacpp(page("captured/llamacpp-b11549-queue.prom")).values() == {
        "running": 4, "waiting": 2, "prefix_queries": 4_802 + 3_597, "prefix_hits": 3_597,
        "prompt_tokens": 4_802 + 3_597, "generation_tokens": 416,
    }  # fmt: skip
    assert read_llamacpp(page("llamacpp-old.prom")).values() == {
        "running": 4, "waiting": 2, "kv_usage": 0.4213, "generation_tokens": 20_391,
    }  # fmt: skip


def test_slots() -> None:
    """Slots tell the memory; while one is free nobody waits."""
    found = read_slots(page("captured/llamacpp-b11549-slots.json"))
    assert found.values() == {
        "running": 1, "waiting": 0, "max_running": 4, "kv_usage": 605 / 16_384, "kv_tokens": 16_384,
    }  # fmt: skip


def test_all_slots_busy() -> None:
    """How many wait is not told by slots that are all busy."""
    slots = [{"n_ctx": 100, "is_processing": True, "n_prompt_tokens": 50}] * 2
    found = read_slots(json.dumps(slots).encode())
    assert (found.running, found.waiting, found.kv_usage) == (2, None, 0.5)


def test_slots_that_do_not_tell_their_tokens() -> None:
    """A busy slot without its tokens makes the usage unknown, not small."""
    slots = [{"n_ctx": 100, "is_processing": True}, {"n_ctx": 100, "is_processing": False}]
    assert read_slots(json.dumps(slots).encode()).kv_usage is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"[1]", b'[{"n_ctx": -1}]', b'[{"n_ctx": 1}, {}]', b'[{"n_ctx": "1"}]', b'{"error": {}}'],
)
def test_bad_slots(body: bytes) -> None:
    """What is no list of slots tells nothing."""
    assert read_slots(body).values() == {}
