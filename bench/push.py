"""How fast one change reaches every Envoy: `python -m bench.push [--streams N ...] [--pods N]`.

The production server, serving the policy of many pools, and simulated Envoys in processes of their own: delta streams
over real gRPC, each on its own connection, that hold everything and acknowledge what they are sent, without looking
into it. Measured from the moment at which one endpoint of one pool changes, debounce included, to the acknowledgements
(each is taken when the server has read it); and what a stream costs: bytes per change, CPU, memory while idle.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import random
import resource
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from control_plane.compile.node import Node
from control_plane.fleet.debounce import QUIET_S
from control_plane.xds.identity import Identity
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.server import SERVICE, XdsServer
from control_plane.xds.snapshot import Memo, Snapshot, build_snapshot
from protos.messages import load

POOLS = 100
ENDPOINTS_PER_POOL = 100
STREAMS = (1, 10, 100, 1_000)
CHANGES = 20
"""Per row: p99 is of all streams' acknowledgements of all changes, and p50 too."""

PATIENCE_S = 120.0
"""For all simulated Envoys to be connected, and for one change to arrive: a row that takes longer fails."""

CLIENTS_PER_PROCESS = 250
"""Simulated Envoys per process: their own work must not be what is measured, but each process takes 40 MB."""

PAUSE_S = 0.1
"""Between changes, so that one change is measured and not a queue of them."""

LOOK_S = 0.002
"""How often it is looked whether the event loop is free: a look costs some 20 us."""


def cluster(name: str) -> dict[str, object]:
    """An EDS cluster."""
    eds = {"edsConfig": {"ads": {}, "resourceApiVersion": "V3"}}
    return {"name": name, "type": "EDS", "edsClusterConfig": eds, "connectTimeout": "1s"}


def load_assignment(name: str, endpoints: int, weight: int) -> dict[str, object]:
    """Endpoints of a pool in the compiler's own shape; the first has this weight."""
    members = [
        {
            "endpoint": {"address": {"socketAddress": {"address": f"10.{n // 250}.{n % 250}.1", "portValue": 8000}}},
            "loadBalancingWeight": 100,
        }
        for n in range(endpoints)
    ]
    members[0]["loadBalancingWeight"] = weight
    return {"clusterName": name, "endpoints": [{"lbEndpoints": members}]}


class Fleet:
    """What is served: pools of endpoints, of which one changes. Mutable: the snapshot; written by `change`."""

    def __init__(self, pools: int, endpoints: int) -> None:
        self._memo = Memo()
        self._endpoints = endpoints
        names = [f"pool/{number:03d}" for number in range(pools)]
        self._compiled: dict[str, dict[str, Mapping[str, object]]] = {
            CLUSTERS: {name: cluster(name) for name in names},
            ENDPOINTS: {name: load_assignment(name, endpoints, 1) for name in names},
            LISTENERS: {},
            ROUTES: {},
        }
        self._changes = 1
        self.snapshot = self._built()

    def change(self) -> str:
        """One endpoint of one pool gets another weight; returns the new version of its resource."""
        self._changes += 1
        names = list(self._compiled[ENDPOINTS])
        name = names[self._changes % len(names)]
        self._compiled[ENDPOINTS] = self._compiled[ENDPOINTS] | {
            name: load_assignment(name, self._endpoints, self._changes)
        }
        self.snapshot = self._built()
        return self.snapshot.types[ENDPOINTS][name].version

    def _built(self) -> Snapshot:
        return build_snapshot(self._compiled, load(), self._memo)


class Acknowledgements:
    """An observer that takes the time of each acknowledgement. Mutable: all of it; the server's loop is the writer."""

    def __init__(self) -> None:
        self.connected_streams = 0
        self.times: list[float] = []
        self.expected = 0
        self.all_in = asyncio.Event()

    def expect(self, number: int) -> None:
        """Counts from here."""
        self.times, self.expected = [], number
        self.all_in.clear()

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """Counted."""
        self.connected_streams += 1
        return None

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Its time is taken, if it is of endpoints."""
        if type_url == ENDPOINTS:
            self.times.append(time.perf_counter())
            if len(self.times) == self.expected:
                self.all_in.set()

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Cannot be: the simulated Envoys accept everything."""
        raise AssertionError(text)

    def disconnected(self, node: Node) -> None:
        """Counted."""
        self.connected_streams -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: times in ms, sizes in bytes, CPU of the server in ms per change.

    `held_ms` is for how long a change holds up the server's event loop at once: building the snapshot, and working out
    what the first streams are owed. `late_ms` is the longest that anything else, such as a pick, waited for the loop
    until all had acknowledged the change. Both are medians of the changes.
    """

    streams: int
    pools: int
    endpoints: int
    connect_s: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    bytes_per_stream: int
    first_bytes: int
    held_ms: float
    late_ms: float
    cpu_ms: float
    memory_per_stream: int


class Waiting:
    """Somebody else on the event loop, who looks how long he waits for it. Mutable: the longest, in ms."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def go_on(self) -> None:
        """For ever."""
        while True:
            due = time.perf_counter() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - due) * 1e3)


def resident_bytes() -> int:
    """The resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def clients(address: str, number: int, endpoints: int) -> list[Process]:
    """Starts the processes of that many simulated Envoys; they subscribe to the endpoints of all pools."""
    parts = [min(CLIENTS_PER_PROCESS, number - start) for start in range(0, number, CLIENTS_PER_PROCESS)]
    return [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.push", "--as-client", address, str(index), str(part), stdin=PIPE, stdout=PIPE
        )
        for index, part in enumerate(parts)
    ]


async def ended(processes: list[Process]) -> tuple[int, int]:
    """Ends them; returns the bytes of endpoints that all of their streams were sent first, and since then."""
    told = [json.loads((await process.communicate(b"\n"))[0]) for process in processes]
    return sum(first for first, _ in told), sum(later for _, later in told)


async def measured(streams: int, pools: int, endpoints: int) -> Row:
    """One row."""
    fleet, seen = Fleet(pools, endpoints), Acknowledgements()
    server = XdsServer(load(), lambda node: fleet.snapshot, time.monotonic, observer=seen, rng=random.Random(1))
    [address] = await server.start(["127.0.0.1:0"])
    gc.collect()
    memory, began = resident_bytes(), time.perf_counter()
    seen.expect(streams)
    processes = await clients(address, streams, endpoints)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await seen.all_in.wait()
        connect_s = time.perf_counter() - began
        await asyncio.sleep(1.0)
        gc.collect()
        memory = resident_bytes() - memory
        waiting = Waiting()
        looking = asyncio.create_task(waiting.go_on())
        cpu, delays, held, late = time.process_time(), [], [], []
        for _ in range(CHANGES):
            seen.expect(streams)
            began = time.perf_counter()
            await asyncio.sleep(QUIET_S)
            waiting.longest_ms = 0.0
            holding = time.perf_counter()
            fleet.change()
            server.publish()
            held.append((time.perf_counter() - holding) * 1e3)
            async with asyncio.timeout(PATIENCE_S):
                await seen.all_in.wait()
            delays += [(at - began) * 1e3 for at in seen.times]
            await asyncio.sleep(0)
            late.append(waiting.longest_ms)
            await asyncio.sleep(PAUSE_S)
        cpu = time.process_time() - cpu
        looking.cancel()
    finally:
        first, later = await ended(processes)
        await server.stop()
    ordered = sorted(delays)
    return Row(
        streams=streams,
        pools=pools,
        endpoints=endpoints,
        connect_s=connect_s,
        p50_ms=ordered[len(ordered) // 2],
        p99_ms=ordered[math.ceil(len(ordered) * 0.99) - 1],
        most_ms=ordered[-1],
        bytes_per_stream=later // (streams * CHANGES),
        first_bytes=first // streams,
        held_ms=sorted(held)[len(held) // 2],
        late_ms=sorted(late)[len(late) // 2],
        cpu_ms=cpu * 1e3 / CHANGES,
        memory_per_stream=memory // streams,
    )


async def simulate(address: str, process: int, number: int) -> None:
    """That many simulated Envoys, until a line comes in; prints the bytes of their first and later responses."""
    names = load()
    request: Any = names["envoy.service.discovery.v3.DeltaDiscoveryRequest"]
    response: Any = names["envoy.service.discovery.v3.DeltaDiscoveryResponse"]
    counted = {True: 0, False: 0}
    method = f"/{SERVICE}/DeltaAggregatedResources"

    async def envoy(index: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call: Any = channel.stream_stream(method)()
            first = request(type_url=CLUSTERS)
            first.node.id = f"envoy-{process}-{index}"
            await call.write(first.SerializeToString())
            clusters = response.FromString(await call.read())
            wanted = [entry.name for entry in clusters.resources]
            await call.write(request(type_url=ENDPOINTS, resource_names_subscribe=wanted).SerializeToString())
            await call.write(request(type_url=CLUSTERS, response_nonce=clusters.nonce).SerializeToString())
            is_first = True
            while (data := await call.read()) is not grpc.aio.EOF:
                counted[is_first] += len(data)
                is_first = False
                # Of what a response carries an Envoy needs only the nonce here, which is written near the end; reading
                # all of it a thousand times on one machine would be most of what is measured.
                answer = request(type_url=ENDPOINTS, response_nonce=nonce_of(data))
                await call.write(answer.SerializeToString())

    streams = [asyncio.create_task(envoy(index)) for index in range(number)]
    ending = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    done, _ = await asyncio.wait([ending, *streams], return_when=asyncio.FIRST_COMPLETED)
    for stream in streams:
        stream.cancel()
    outcomes = await asyncio.gather(*streams, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            print(repr(outcome), file=sys.stderr)
    print(json.dumps([counted[True], counted[False]]))
    assert ending in done, "the server ended a stream"


def nonce_of(response: bytes) -> str:
    """The nonce of a delta response: our server appends the field (number 5, at most 127 characters) behind all others
    but the sender (number 7, with its name as the only field)."""
    for length in range(2, 127):
        if response[-length - 2 : -length + 2] == bytes((0x3A, length, 0x0A, length - 2)):
            rest = response[: -length - 2]
            break
    else:
        raise ValueError("no sender at the end of the response")
    for length in range(1, 20):
        if rest[-length - 2] == 0x2A and rest[-length - 1] == length:
            return rest[-length:].decode()
    raise ValueError("no nonce before the sender")


COLUMNS = ("streams", "pools", "of", "p50 ms", "p99 ms", "most ms", "B/change", "B at first")
COLUMNS_OF_COST = ("held ms", "late ms", "CPU ms", "CPU us", "kB", "connect s")


def table(rows: list[Row]) -> None:
    """Prints it; `CPU us` and `kB` are per stream, `connect s` is until all were connected and served."""
    print(" ".join(f"{name:>10}" for name in (*COLUMNS, *COLUMNS_OF_COST)))
    for row in rows:
        numbers = (row.streams, row.pools, row.endpoints)
        times = (row.p50_ms, row.p99_ms, row.most_ms)
        costs = (row.held_ms, row.late_ms, row.cpu_ms, row.cpu_ms * 1e3 / row.streams)
        others = (row.memory_per_stream / 1e3, row.connect_s)
        sizes = (row.bytes_per_stream, row.first_bytes)
        print(*(f"{value:10}" for value in numbers), *(f"{value:10.1f}" for value in times), end=" ")
        print(*(f"{value:10}" for value in sizes), *(f"{value:10.1f}" for value in (*costs, *others)))


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--streams", type=int, nargs="+", default=STREAMS, help="rows of the table (default: %(default)s)"
    )
    parser.add_argument("--as-client", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_client:
        address, process, number = args.as_client
        asyncio.run(simulate(address, int(process), int(number)))
        return
    rows = [asyncio.run(measured(streams, POOLS, ENDPOINTS_PER_POOL)) for streams in args.streams]
    rows.append(asyncio.run(measured(min(100, max(args.streams)), 1, POOLS * ENDPOINTS_PER_POOL)))
    table(rows)
    least, most = rows[0], max(rows, key=lambda row: row.streams)
    result = {
        "bench": "push",
        "cores": os.cpu_count(),
        "debounce_ms": QUIET_S * 1e3,
        "rows": [{name: round(getattr(row, name), 3) for name in Row.__slots__} for row in rows],
        "p99_of_most_to_least_streams": round(most.p99_ms / least.p99_ms, 2),
        "change_to_all_bytes": round(most.bytes_per_stream / most.first_bytes, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
