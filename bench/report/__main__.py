"""Makes the replay tables of docs/benchmarks.md: `python -m bench.report --traces DIR`, or `make bench-report`.

Knees are searched first, since all loads are shares of them; then everything else is played, on all cores. Tables of
workloads whose file is not below `--traces` leave those out. The same code gives the same bytes.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from bench.report.catalogue import QUICK, REPORT, with_seeds
from bench.report.cells import KEPT, Source, Store, all_played, is_known
from bench.report.markdown import filled
from bench.report.numbers import numbers
from bench.report.tables import knee_group, knee_of

ROOT = Path(__file__).parents[2]


def main(words: list[str] | None = None) -> int:
    """Plays what is missing and writes the tables; 1 when a name or the document is wrong."""
    args = _parser().parse_args(words)
    tables = [table for table in (QUICK if args.quick else REPORT) if args.only is None or table.name in args.only]
    if args.seeds is not None:
        tables = [with_seeds(table, args.seeds) for table in tables]
    source, store = Source(args.traces), Store(args.cells / KEPT)
    places = [place for table in tables for place in table.places if source.path(place.workload.trace)]
    places = list(dict.fromkeys(places))
    found = all_played([knee_group(place) for place in places], source, store, args.jobs)
    knees = {place: knee for place in places if (knee := knee_of(place, found)) is not None}
    groups = [group for table in tables for group in table.groups(knees) if is_known(group, source)]
    found |= all_played(groups, source, store, args.jobs)
    blocks = {name: text for table in tables for name, text in table.blocks(knees, found).items()}
    if args.stdout:
        print("\n\n".join(f"## {name}\n{text}" for name, text in blocks.items()))
    else:
        try:
            args.doc.write_text(filled(args.doc.read_text(), blocks))
        except ValueError as error:
            print(f"bench.report: {args.doc}: {error}", file=sys.stderr)
            return 1
    if args.json is not None:
        before = json.loads(args.json.read_text()) if args.json.exists() else {}
        told = before | {table.name: numbers(table.groups(knees), found) for table in tables}
        args.json.write_text(json.dumps(told, indent=0, separators=(",", ":"), ensure_ascii=False) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.partition("\n")[0])
    parser.add_argument("--traces", type=Path, help="folder with conversation_trace.jsonl and the Azure CSV")
    parser.add_argument("--cells", type=Path, default=ROOT / "build" / "bench-report", help="where runs are kept")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(table.name for table in REPORT)}")
    parser.add_argument("--seeds", type=int, metavar="N", help="of proof and sweeps, for a first look")
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that it works")
    parser.add_argument("--doc", type=Path, default=ROOT / "docs" / "benchmarks.md", help="default %(default)s")
    parser.add_argument("--stdout", action="store_true", help="print the tables and leave the document as it is")
    parser.add_argument("--json", type=Path, help="also write the numbers of every run here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
