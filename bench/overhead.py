"""What the picker adds to a request through a real Envoy: `python -m bench.overhead [--requests N] [--concurrency C]`.

One Envoy, one fleet of trivial upstreams, the same POST body three ways in one run, in alternating rounds: picked
(`/v1/chat/completions`), unpicked (another path of the same listener: same filters, ext_proc off on that route),
and straight to an upstream. Latency is seen by the client; the picker's CPU is what the kernel charged to its process.
Loopback only; bounded by its number of requests.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from sim.ranks import nearest_rank
from tests.kit.mesh import PolicyText, mesh

PROMPT_CHARS = 4000
"""About 1,000 tokens: a usual chat prompt."""
ROUNDS = 5
"""Each way is measured this many times in turn, so that a slow moment of the machine hits all three."""
_ANSWER = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}'
_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_ANSWER),
    _ANSWER,
)


class Upstream(asyncio.Protocol):
    """Answers every request with the same JSON, knowing no more of HTTP than where a message ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remembers the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Answers each message that is complete."""
        self._data += data
        while (end := _message_end(self._data)) is not None:
            self._data = self._data[end:]
            self._transport.write(_RESPONSE)


def _message_end(data: bytes) -> int | None:
    """Length of the first message with content-length or chunked body in `data`, or None while it is incomplete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    headers = data[:head].lower()
    mark = headers.find(b"content-length:")
    if mark >= 0:
        length = int(headers[mark + 15 :].split(b"\r\n", 1)[0])
        return head + 4 + length if len(data) >= head + 4 + length else None
    end = data.find(b"0\r\n\r\n", head + 4)
    return end + 5 if end >= 0 else None


class Client(asyncio.Protocol):
    """One keep-alive connection that sends one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remembers the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""
        self._waiter: asyncio.Future[int] | None = None

    def data_received(self, data: bytes) -> None:
        """Ends the wait of `ask` when the answer is complete."""
        self._data += data
        end = _message_end(self._data)
        if end is not None and self._waiter is not None:
            status = int(self._data[9:12])
            self._data = self._data[end:]
            self._waiter.set_result(status)
            self._waiter = None

    def connection_lost(self, error: Exception | None) -> None:
        """A lost answer must not hang the benchmark."""
        if self._waiter is not None:
            self._waiter.set_exception(ConnectionError("connection lost"))

    async def ask(self, request: bytes) -> float:
        """Seconds that one request took; raises `RuntimeError` when it was not answered with 200."""
        self._waiter = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._transport.write(request)
        status = await self._waiter
        if status != 200:
            raise RuntimeError(f"answered with {status}")
        return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Way:
    """One way for the request to go."""

    name: str
    address: str
    path: str


@dataclass(slots=True)
class Seen:
    """What was measured on one way. Mutable: grows by one round at a time."""

    latencies: list[float]
    seconds: float = 0.0
    picker_cpu_s: float = 0.0


async def _round(way: Way, requests: int, concurrency: int, seen: Seen, pid: int) -> None:
    host, _, port = way.address.rpartition(":")
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, host, int(port)))[1] for _ in range(concurrency)]
    numbers = iter(range(requests))

    async def work(client: Client, numbers: Iterator[int]) -> None:
        for number in numbers:
            seen.latencies.append(await client.ask(_request(way.path, number)))

    cpu, started = _cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(work(client, numbers) for client in clients))
    seen.seconds += time.perf_counter() - started
    seen.picker_cpu_s += _cpu_seconds(pid) - cpu
    for client in clients:
        client._transport.close()


def _request(path: str, number: int) -> bytes:
    prompt = f"Question {number % 200}: " + "what does the router do? " * (PROMPT_CHARS // 25)
    body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": prompt}]}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(requests: int, concurrency: int) -> dict[str, Seen]:
    """All ways, `requests` each."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        servers = [await loop.create_server(Upstream, "127.0.0.1", 0) for _ in range(4)]
        for server in servers:
            stack.callback(server.close)
        addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvpilot-bench-")))
        running = await stack.enter_async_context(
            mesh(directory, PolicyText(pools={"bench": addresses}, models={"sim": "bench"}))
        )
        ways = (
            Way("picked", running.policy.listen, "/v1/chat/completions"),
            Way("unpicked", running.policy.listen, "/other"),
            Way("direct", addresses[0], "/v1/chat/completions"),
        )
        seen = {way.name: Seen([]) for way in ways}
        pid = running.kvpilot.pid
        for way in ways:
            await _round(way, 200, concurrency, Seen([]), pid)  # warms connections and caches
        for _ in range(ROUNDS):
            for way in ways:
                await _round(way, requests // ROUNDS, concurrency, seen[way.name], pid)
    return seen


def _report(seen: dict[str, Seen], concurrency: int) -> dict[str, object]:
    rows = {
        name: {
            "requests_per_s": len(one.latencies) / one.seconds,
            "p50_ms": nearest_rank(sorted(one.latencies), 50) * 1e3,
            "p99_ms": nearest_rank(sorted(one.latencies), 99) * 1e3,
            "picker_cpu_us_per_request": one.picker_cpu_s / len(one.latencies) * 1e6,
        }
        for name, one in seen.items()
    }
    print(f"{concurrency} in flight")
    print(f"{'way':10} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'picker CPU µs/request':>22}")
    for name, row in rows.items():
        times = f"{row['requests_per_s']:11.0f} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f}"
        print(f"{name:10} {times} {row['picker_cpu_us_per_request']:22.0f}")
    picked, unpicked = rows["picked"], rows["unpicked"]
    added = {name: picked[name] - unpicked[name] for name in ("p50_ms", "p99_ms")}
    ratio = picked["requests_per_s"] / unpicked["requests_per_s"]
    print(
        f"the pick adds {added['p50_ms']:.2f} ms at p50, {added['p99_ms']:.2f} ms at p99; {ratio:.2f} × the requests/s"
    )
    print()
    return {"concurrency": concurrency, "ways": rows, "throughput_ratio": ratio, "added": added}


def main() -> None:
    """Prints a table for each concurrency and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=5000, help="per way (default %(default)s)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8], help="in flight (default: 1 and 8)")
    args = parser.parse_args()
    runs = [_report(asyncio.run(measure(args.requests, number)), number) for number in args.concurrency]
    print(json.dumps({"bench": "overhead", "runs": runs}))


if __name__ == "__main__":
    main()
