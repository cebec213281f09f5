"""The pages of `docs/` name the paths and metrics that there are; a metric by its whole name, as an alert shows it."""

import re
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from control_plane.admin.dashboard import INDEX
from control_plane.admin.health_metrics import hardware
from control_plane.admin.weight_metrics import weights
from tests.kit.tiny_tokenizer import bpe, config, content
from tests.unit.control_plane.admin.asking import admin_of, text
from tests.unit.control_plane.admin.test_weight_metrics import ROW, lane
from tests.unit.control_plane.sidecar.in_process import policy_text, running

ROOT = Path(__file__).parents[4]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]

NO_METRICS = {"kvpilot_trace"}
"""The mark of a recording's first line."""


def name_of(family: Metric) -> str:
    """As it is queried."""
    return f"{family.name}_total" if family.type == "counter" else family.name


async def shown(directory: Path) -> set[str]:
    """The names under which a sidecar with everything switched on shows its numbers."""
    (directory / "t.json").write_bytes(content(bpe()))
    (directory / "c.json").write_bytes(config())
    policy = policy_text(strategy="weighted, shadow: round-robin")
    policy = policy.replace("pool: p}", "pool: p, tokenizer: {file: t.json, config: c.json}}")
    policy = policy.replace("engine: custom", "scrape: off, kvEvents: {port: 1, replayPort: 2}")
    async with running(directory, policy) as sidecar, admin_of(sidecar) as admin:
        assert sidecar.state.is_successful
        families = list(text_string_to_metric_families(await text(admin, "/metrics")))
    # These come with the first exporter, and the first weight that was learned.
    return {name_of(family) for family in (*families, *hardware({"ok": 1}, 0), *weights(lane([ROW])))}


async def test_pages_and_metrics_agree(tmp_path: Path) -> None:
    """Nothing is shown that no page names, and no page names what is not shown."""
    named = {name for page in PAGES for name in re.findall(r"\bkvpilot_[a-z0-9_]+", page.read_text())} - NO_METRICS
    metrics = await shown(tmp_path)
    assert len(metrics) > 90
    assert {"not on any page": metrics - named, "not shown": named - metrics} == {
        "not on any page": set(),
        "not shown": set(),
    }


def test_every_path_is_explained() -> None:
    """What the admin port lists stands in the table of docs/operations.md."""
    table = (ROOT / "docs/operations.md").read_text().partition("## Admin HTTP")[2].partition("\n## ")[0]
    paths = re.findall(r"^/\w+", INDEX, re.MULTILINE)
    assert len(paths) > 10
    assert [path for path in paths if not re.search(rf"{path}\b", table)] == []
