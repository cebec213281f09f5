"""Triton's page."""

import re

from ext_proc.signals.engines.triton import read_triton
from tests.unit.ext_proc.signals.pages import page


def test_page() -> None:
    """One family has several numbers, told apart by a label."""
    assert read_triton(page("triton-trtllm.prom")).values() == {
        "running": 17, "waiting": 5, "max_running": 512, "kv_usage": 0.6215, "block_size": 64, "kv_tokens": 6_239 * 64,
    }  # fmt: skip


def test_old_versions() -> None:
    """Without `waiting` what is active and not scheduled waits; without `fraction` used and all blocks tell it."""
    old = re.sub(rb'(?m)^.*request_type="waiting".*\n|^.*block_type="fraction".*\n', b"", page("triton-trtllm.prom"))
    found = read_triton(old)
    assert (found.running, found.waiting) == (17, 22 - 17)
    assert found.kv_usage == 3_878 / 6_239


def test_other_backends() -> None:
    """Without its TensorRT-LLM backend Triton does not tell the load."""
    assert read_triton(b'nv_inference_pending_request_count{model="m"} 5\n').values() == {}
