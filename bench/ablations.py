"""What each term of `kv-aware` is worth: every cell of the proof again without it.

`python -m bench.ablations --traces DIR` plays what is missing and writes the table of docs/benchmarks.md. Published
rules come from the same store as those of `bench.report`, which is to be made first.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.report.catalogue import ALL, PLACES, SHARES
from bench.report.cells import KEPT, Found, Source, Store, all_played, fingerprint, play
from bench.report.markdown import code, filled, table
from bench.report.proof import Proof
from bench.report.results import Relative, geometric
from bench.report.tables import OURS, Knees, knee_group, knee_of
from bench.report.words import Cell, Group
from control_plane.cli.playing import played

ROOT: Final = Path(__file__).parents[1]

BLOCK: Final = "ablations"


@dataclass(frozen=True, slots=True)
class Without:
    """One part switched off: constants by module and name, and the values that make it nothing."""

    words: str
    constants: Mapping[str, float]


_RULE: Final = "ext_proc.core.strategies.kv_aware."

ABLATIONS: Final = (
    Without("nothing", {}),
    Without("`crowd`: later requests' steps", {_RULE + "CROWD": 1.0}),
    Without("`stall`: its prefill stalls those there", {_RULE + "STALL": 0.0}),
    Without("`stall`: as much where more was prefilled lately", {_RULE + "LEAST_PREFILL_MS": 1e12}),
    Without("`later`: its prefill delays later arrivals", {_RULE + "LATER": 0.0}),
    Without("copies: a popular prefix is charged in full", {_RULE + "SHARED": 0.0}),
    Without("the rule for what nearly all prompts begin with", {"ext_proc.core.history.EVERYBODY": 2.0}),
    Without("near ties: least cost, then chance", {_RULE + "NEAR_MS": 0.0}),
    Without("the bound on requests in flight", {_RULE + "LOAD_FACTOR": 1e9}),
    Without("learning: the guess, at the pace that was seen", {"ext_proc.core.speed.ENOUGH": 10**9}),
)
"""The table's lines."""


@contextmanager
def without(constants: Mapping[str, float]) -> Iterator[None]:
    """The constants have these values meanwhile. Raises AttributeError for one that does not exist."""
    before = []
    for path, value in constants.items():
        module, _, name = path.rpartition(".")
        owner = import_module(module)
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def main(words: list[str] | None = None) -> int:
    """Plays what is missing and writes the table; 1 when the document has no place for it."""
    args = _parser().parse_args(words)
    source, store = Source(args.traces), Store(args.cells / KEPT)
    places = tuple(place for place in PLACES if source.path(place.workload.trace))
    found = all_played([knee_group(place) for place in places], source, store, args.jobs)
    knees = {place: knee for place in places if (knee := knee_of(place, found)) is not None}
    proof = Proof(places, tuple(args.shares), ALL, seeds=args.seeds)
    groups = proof.groups(knees)
    found |= all_played(groups, source, store, args.jobs)
    block = made(
        proof, knees, found, {each.words: _played(each, groups, source, store, args.jobs) for each in ABLATIONS}
    )
    if args.stdout:
        print(block)
        return 0
    try:
        args.doc.write_text(filled(args.doc.read_text(), {BLOCK: block}))
    except ValueError as error:
        print(f"bench.ablations: {args.doc}: {error}", file=sys.stderr)
        return 1
    return 0


def made(
    proof: Proof,
    knees: Knees,
    found: Mapping[Cell, Mapping[str, Any]],
    own: Mapping[str, Mapping[Cell, Mapping[str, Any]]],
) -> str:
    """The table. Pure. `own` has what came of our rule's cells, by what was switched off."""
    kinds = list(dict.fromkeys(place.workload.name for place in proof.places))
    rows = []
    for words, played_ in own.items():
        ours = [cell for cell in proof.relatives(knees, {**found, **played_}) if cell.spot.strategy == OURS]
        worst = max(ours, key=lambda cell: cell.ratio)
        by_kind = [_mean([cell for cell in ours if cell.place.startswith(f"{kind}, ")]) for kind in kinds]
        where = f"{worst.place} at {worst.share:g}"
        rows.append([words, _mean(ours), f"{worst.ratio:.2f}", where, *by_kind])
    head = ("without", "mean", "worst cell", "which", *kinds)
    shares = " ".join(f"{share:g}" for share in proof.shares)
    command = f"python -m bench.ablations --traces DIR --seeds {proof.seeds} --shares {shares}"
    return "\n\n".join((table(head, rows), code([command])))


def _mean(cells_: Sequence[Relative]) -> str:
    return f"{geometric(cell.ratio for cell in cells_):.3f}" if cells_ else "–"


def _played(each: Without, groups: Sequence[Group], source: Source, store: Store, jobs: int) -> dict[Cell, Found]:
    """Our rule's cells with something switched off; kept as those of the report are."""
    kept = store.read()
    pairs = [(group, cell) for group in groups for cell in group.cells() if cell.strategy == OURS]
    off = " ".join(f"{path}={value:g}" for path, value in each.constants.items())
    keys = {cell: f"{fingerprint(ours=True)} {cell.key} {off}".rstrip() for _, cell in pairs}
    missing = [pair for pair in pairs if keys[pair[1]] not in kept]
    results = played(partial(_play, dict(each.constants), source), missing, jobs)
    for (_, cell), result in zip(missing, results, strict=True):
        kept[keys[cell]] = result
        store.add(keys[cell], result)
    print(f"without {each.words}: {len(missing)} runs", file=sys.stderr, flush=True)
    return {cell: kept[key] for cell, key in keys.items()}


def _play(constants: Mapping[str, float], source: Source, pair: tuple[Group, Cell]) -> dict[str, Any]:
    with without(constants):
        return play(source, pair)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.ablations", description=__doc__.partition("\n")[0])
    parser.add_argument("--traces", type=Path, help="folder with conversation_trace.jsonl and the Azure CSV")
    parser.add_argument("--cells", type=Path, default=ROOT / "build" / "bench-report", help="where runs are kept")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of each cell (default %(default)s)")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=SHARES,
        metavar="X",
        help="loads, of the knee (default: as the proof)",
    )
    parser.add_argument("--doc", type=Path, default=ROOT / "docs" / "benchmarks.md", help="default %(default)s")
    parser.add_argument("--stdout", action="store_true", help="print the table and leave the document as it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
