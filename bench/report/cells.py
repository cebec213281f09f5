"""Plays cells, in processes of their own, and keeps what came of each.

A cell is kept under its words and a fingerprint of the code that it depends on, so that a change of the picker plays
only our own rules again, and a report that was interrupted goes on where it was.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Final

import control_plane
import ext_proc
import sim
from bench.report.words import Cell, Group
from control_plane.cli import replay
from control_plane.cli.playing import played
from ext_proc.core.strategies.table import STRATEGIES
from sim.virtual import study
from sim.virtual.search import fewest_pods, highest_rate
from sim.virtual.study import Plan, Task

Found = dict[str, Any]
"""What came of a cell, as JSON values."""

KEPT: Final = "cells.jsonl"

LIVE: Final = frozenset(
    {"api.py", "bodies.py", "driver.py", "fleet.py", "listener.py", "metrics.py", "pod.py", "shapes.py", "tokens.py"}
)
"""Modules directly in `sim` that only the live simulated pods use."""

SHOWING: Final = ("report", "html", "plots", "compare", "estimate")
"""What modules of `sim.virtual` are called that show results."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where traces are read from; None: only made ones can be played."""

    folder: Path | None = None

    def path(self, name: str) -> str | None:
        """The word for a trace: itself when it is made, its path when there is such a file below the folder."""
        if name.startswith(replay.GENERATE):
            return name
        found = sorted(self.folder.rglob(name)) if self.folder else []
        return str(found[0]) if found else None


@dataclass(frozen=True, slots=True)
class Store:
    """Cells that were played before, one per line of a file."""

    path: Path

    def read(self) -> dict[str, Found]:
        """All of them by key; a line that was not written to its end is left out."""
        kept: dict[str, Found] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    key, found = json.loads(line)
                except ValueError:
                    continue
                kept[key] = found
        return kept

    def add(self, key: str, found: Found) -> None:
        """Keeps one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([key, found], separators=(",", ":")) + "\n")


def all_played(groups: Iterable[Group], source: Source, store: Store, jobs: int) -> dict[Cell, Found]:
    """What came of each cell of the groups. Raises ValueError for words that cannot be played."""
    kept = store.read()
    prints = {True: fingerprint(ours=True), False: fingerprint(ours=False)}
    keys: dict[Cell, str] = {}
    missing: dict[str, tuple[Group, Cell]] = {}
    for group in groups:
        for cell in group.cells():
            keys[cell] = f"{prints[cell.strategy in STRATEGIES]} {cell.key}"
            if keys[cell] not in kept:
                missing.setdefault(keys[cell], (group, cell))
    # Searches are long, so they do not come last; apart from that, what shares a trace stays together.
    order = sorted(missing.items(), key=lambda item: not item[1][1].search)
    results = played(partial(play, source), [pair for _, pair in order], jobs)
    for count, ((key, _), found) in enumerate(zip(order, results, strict=True), start=1):
        kept[key] = found
        store.add(key, found)
        if count % 100 == 0 or count == len(order):
            print(f"{count:,} of {len(order):,} runs", file=sys.stderr, flush=True)
    return {cell: kept[key] for cell, key in keys.items()}


def is_known(group: Group, source: Source) -> bool:
    """Whether this kvpilot understands the words and the trace can be read."""
    if source.path(group.words[0]) is None:
        return False
    try:
        _parsed(group.arguments, source)
    except ValueError:
        return False
    return True


@cache
def fingerprint(*, ours: bool) -> str:
    """Of the code that a run depends on, as it is at the first call; comments and layout do not count.

    `ours`: the production picker's too.
    """
    paths = [path for path in _sources(ours) if not _is_beside(path)]
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.parts[-3:]):
        digest.update("/".join(path.parts[-3:]).encode())
        digest.update(ast.dump(ast.parse(path.read_text())).encode())
    return digest.hexdigest()[:12]


def _sources(ours: bool) -> Iterator[Path]:
    for path in Path(sim.__path__[0]).rglob("*.py"):
        if ours or path.name != "production.py":
            yield path
    if ours:
        yield from (Path(ext_proc.__path__[0]) / "core").rglob("*.py")
    yield from (Path(control_plane.__path__[0]) / "cli").glob("replay_setup.py")


def _is_beside(path: Path) -> bool:
    if path.parent.name == "sim":
        return path.name in LIVE
    return path.parent.name == "virtual" and any(word in path.name for word in SHOWING)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:  # argparse's own never returns; this one neither
        raise ValueError(message)


def _parsed(words: tuple[str, ...], source: Source) -> argparse.Namespace:
    parser = _Parser()
    replay.add_arguments(parser)
    trace, *rest = words
    return parser.parse_args([source.path(trace) or trace, *rest])


@lru_cache(maxsize=2)
def _plan(words: tuple[str, ...], source: Source) -> Plan:
    """One plan for all cells that share their words: what it reads or makes is the same."""
    plan = replay.plan_of(_parsed(words, source))
    if plan is None:
        raise ValueError(f"{' '.join(words)}: the policy has errors")
    return plan


def play(source: Source, pair: tuple[Group, Cell]) -> Found:
    """Plays one cell of a group; the function travels to other processes. Raises ValueError as `all_played` does."""
    group, cell = pair
    plan = _plan(group.arguments, source)
    rates: Mapping[str, float] = dict(zip(group.loads or ("",), plan.rates, strict=True))
    if cell.search == "rate":
        return highest_rate(plan, cell.strategy).as_dict()
    if cell.search == "size":
        return fewest_pods(plan, rates[cell.load], cell.strategy).as_dict()
    trace = plan.traces[cell.seed]
    row = study.play(Task(cell.strategy, rates[cell.load], cell.seed, trace, plan.setup, plan.pool, plan.slo))
    return row.as_dict()
