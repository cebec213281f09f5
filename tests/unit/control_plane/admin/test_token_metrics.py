"""Prompts by tokens and by text, in `/metrics` and `/status`."""

from pathlib import Path

from tests.kit.tiny_tokenizer import bpe, config, content
from tests.unit.control_plane.admin.asking import admin_of, get
from tests.unit.control_plane.admin.test_metrics import scrape, value
from tests.unit.control_plane.sidecar.in_process import policy_text, running


async def test_nobody_counts(tmp_path: Path) -> None:
    """Without a `tokenizer` there are no such metrics."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert not [name for name, _ in await scrape(admin) if name.startswith("kvpilot_prompts_")]
        status = await get(admin, "/status")
        assert status["tokenizers"] == []
        assert status["pools"]["p"]["prefix_index"]["blocks_of"] == "text"


async def test_with_a_tokenizer(tmp_path: Path) -> None:
    """The counts are there from the beginning, and the files in the status."""
    (tmp_path / "t.json").write_bytes(content(bpe()))
    (tmp_path / "c.json").write_bytes(config())
    text = policy_text().replace("pool: p}", "pool: p, tokenizer: {file: t.json, config: c.json}}")
    async with running(tmp_path, text) as sidecar, admin_of(sidecar) as admin:
        samples = await scrape(admin)
        assert value(samples, "kvpilot_prompts_counted_total", by="tokens") == 0
        assert value(samples, "kvpilot_prompts_late_total") == 0
        assert value(samples, "kvpilot_prefix_index_precise_endpoints", pool="p") == 0
        status = await get(admin, "/status")
        assert status["tokenizers"] == [{"model": "m", "files": ["t.json", "c.json"], "state": "ok", "error": ""}]
        assert status["pools"]["p"]["prefix_index"]["blocks_of"] == "tokens"
