"""What one changed endpoint costs the control plane, by size of the pool: `python -m bench.endpoints`.

Prints a table and, as its last line, the same as JSON; least of several repetitions, in ms. `compile` is the pool's
assignment in Envoy's JSON, `serialise` its message, bytes and version, as one more endpoint makes them anew;
`json reader` is what the message takes by protobuf's own JSON reader instead. `merge` is the pool's endpoints from what
its sources found, `file` a file of targets, read and checked (it runs in a thread).
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from control_plane.compile.endpoints import load_assignment
from control_plane.compile.localities import Locality
from control_plane.fleet.merge import pool_endpoints, source_key
from control_plane.fleet.targets import Target, read_targets
from control_plane.policy.model import FileEndpoints, Pool
from control_plane.xds.assignments import ASSIGNMENT
from control_plane.xds.kinds import ENDPOINTS
from control_plane.xds.snapshot import Memo, build_snapshot
from protos.messages import load

SIZES = (100, 1_000, 10_000)
REPETITIONS = 5
SOURCE = FileEndpoints(file="targets.json")


def measure(size: int) -> dict[str, float]:
    """Times in ms by what they are of."""
    addresses = [f"10.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}:8000" for number in range(size + 1)]
    pool, found, messages = Pool(name="a", endpoints=(SOURCE,)), _found(addresses), load()
    endpoints = pool_endpoints(pool, found)
    before = load_assignment(pool, endpoints[:-1], Locality())
    after = load_assignment(pool, endpoints, Locality())
    name = str(after["clusterName"])
    memo = Memo()

    def serialise() -> None:
        build_snapshot({ENDPOINTS: {name: before}}, messages, memo)
        started = time.perf_counter()
        build_snapshot({ENDPOINTS: {name: after}}, messages, memo)
        serialised.append((time.perf_counter() - started) * 1e3)

    serialised: list[float] = []
    for _ in range(REPETITIONS):
        serialise()
    content = json.dumps([{"targets": addresses, "labels": {"zone": "a"}}]).encode()
    return {
        "compile": _least(lambda: load_assignment(pool, endpoints, Locality())),
        "serialise": min(serialised),
        "json reader": _least(lambda: messages.parse_json(ASSIGNMENT, after)),
        "merge": _least(lambda: pool_endpoints(pool, found)),
        "file": _least(lambda: read_targets(content, "targets.json"), 1),
    }


def _found(addresses: Sequence[str]) -> dict[tuple[str, str, str], tuple[Target, ...]]:
    return {source_key(SOURCE): tuple(Target(address=address, zone="a") for address in addresses)}


def _least(work: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times) * 1e3


def main() -> None:
    """Measures and prints."""
    argparse.ArgumentParser(description="What one changed endpoint costs the control plane, in ms.").parse_args()
    rows = {size: measure(size) for size in SIZES}
    table = Table("endpoints", *next(iter(rows.values())))
    for size, row in rows.items():
        table.add_row(f"{size:,}", *(f"{value:,.2f}" for value in row.values()))
    Console().print(table)
    print(json.dumps({"bench": "endpoints", "unit": "ms", "rows": {str(size): row for size, row in rows.items()}}))


if __name__ == "__main__":
    main()
