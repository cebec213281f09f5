"""Rules about how engines are asked for their numbers."""

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader
from control_plane.policy.scraping import Scrape
from ext_proc.signals.engines.custom import CUSTOM


def _metrics_of_known_engines(pool: Pool, path: str, reader: Reader) -> None:
    if pool.scrape is not None and pool.scrape.metrics is not None and pool.engine != CUSTOM:
        message = f"the names of {quoted(pool.engine)} are known: `metrics` does nothing"
        reader.report_at(f"{path}.scrape.metrics", Code.NO_EFFECT, message, "remove it, or set `engine: custom`")


def _custom_without_metrics(pool: Pool, path: str, reader: Reader) -> None:
    # Without any `scrape` a custom engine is simply not asked.
    if pool.scrape is not None and pool.scrape != Scrape() and pool.scrape.metrics is None and pool.engine == CUSTOM:
        message = "without `metrics` in `scrape` nothing is read from a custom engine"
        hint = "metrics: {running: …, waiting: …}, or `scrape: off`"
        reader.report_at(f"{path}.engine", Code.NO_EFFECT, message, hint)


SCRAPE_RULES: dict[type, tuple[BlockRule, ...]] = {Pool: (_metrics_of_known_engines, _custom_without_metrics)}
