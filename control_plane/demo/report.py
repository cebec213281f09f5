"""The demonstration's report, for eyes (rich tables) and for programs (a JSON value)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from control_plane.demo.scenario import KillReport, Row, StrategyReport


@dataclass(frozen=True, slots=True)
class Report:
    """All that the three acts showed."""

    rows: Sequence[Row]
    kill: KillReport
    strategies: Sequence[StrategyReport]
    envoy_rejected: Sequence[str]
    """What Envoy refused of what was pushed; empty is good."""

    @property
    def ok(self) -> bool:
        """No request failed and Envoy took every resource."""
        failed = [row for row in self.rows if not row.ok]
        compared = sum(strategy.failed for strategy in self.strategies)
        return not failed and not self.kill.failed and not compared and not self.envoy_rejected

    def as_json(self) -> Mapping[str, object]:
        """The value that `--json FILE` writes."""
        return {
            "ok": self.ok,
            "requests": [asdict(row) for row in self.rows],
            "kill": asdict(self.kill),
            "strategies": [asdict(strategy) for strategy in self.strategies],
            "envoy_rejected": list(self.envoy_rejected),
        }


def show(console: Console, report: Report, zones: Mapping[str, str]) -> None:
    """Prints the three tables; `zones` names the zone of each pod's address."""
    _show_rows(console, report.rows, zones)
    _show_kill(console, report.kill)
    _show_strategies(console, report.strategies)
    for refused in report.envoy_rejected:
        console.print(f"Envoy rejected: {refused}", style="red", markup=False)


def _show_rows(console: Console, rows: Sequence[Row], zones: Mapping[str, str]) -> None:
    table = Table(title="Who answered, and why", title_justify="left", box=None, pad_edge=False)
    for name in ("request", "model", "picked", "served", "cached", "TTFT", "why"):
        table.add_column(name, justify="right" if name in ("cached", "TTFT") else "left", overflow="fold")
    for row in rows:
        table.add_row(
            row.request,
            row.model,
            _pod(row.picked, zones),
            _pod(row.served, zones),
            f"{row.cached_tokens}/{row.prompt_tokens}",
            "-" if row.ttft_ms is None else f"{row.ttft_ms:.0f} ms",
            row.reason if row.ok else f"FAILED {row.reason}",
        )
    console.print(table)
    console.print()


def _pod(address: str, zones: Mapping[str, str]) -> str:
    zone = zones.get(address)
    return f":{address.rpartition(':')[2]} {zone}" if zone else address


def _show_kill(console: Console, kill: KillReport) -> None:
    console.print(f"Pod {kill.killed} killed under load", style="bold", highlight=False)
    console.print(
        f"  {kill.sent} requests: {kill.ok} answered in full, {kill.retried} of them after a retry on another pod\n"
        f"  streams that had begun on it and were cut: {kill.cut_streams}; failed: {kill.failed}",
        highlight=False,
    )
    console.print()


def _show_strategies(console: Console, strategies: Sequence[StrategyReport]) -> None:
    table = Table(title="The same conversations, two strategies", title_justify="left", box=None, pad_edge=False)
    for name in ("strategy", "requests", "failed", "TTFT mean", "TTFT p90", "cached tokens"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for strategy in strategies:
        table.add_row(
            strategy.strategy,
            str(strategy.requests),
            str(strategy.failed),
            f"{strategy.mean_ttft_ms:.0f} ms",
            f"{strategy.p90_ttft_ms:.0f} ms",
            f"{strategy.cached_share:.0%}",
        )
    console.print(table)
    console.print()
