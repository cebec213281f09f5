"""The report: which workloads, which engines, which tables. Pure values."""

from dataclasses import replace
from typing import Final

from bench.report.proof import Proof
from bench.report.sweeps import Point, Sweep
from bench.report.tables import OURS, Capacity, KneeTable, Sizes, Table
from bench.report.words import Place, Workload
from sim.baselines import registry

MOONCAKE: Final = Workload("Mooncake", "conversation_trace.jsonl", 3_000)
CHAT: Final = Workload("chat", "generate:chat", 3_000)
RAG: Final = Workload("RAG", "generate:rag", 2_000)
AGENTS: Final = Workload("agents", "generate:agents", 2_000)
PROMPTS: Final = Workload("prompts", "generate:prompts", 2_000)
BURSTS: Final = Workload("bursts", "generate:bursts", 2_000)
AZURE: Final = Workload("Azure", "AzureLLMInferenceTrace_conv.csv", 2_000)

FAST: Final = "h100-8b"
SLOW: Final = "h20-8b"

LONG_KNEE_S: Final = 13.0
"""One prompt of ten of the Mooncake trace has 29,000 tokens, which a H20 computes for more than 5 s when nobody else is
there; 13 s is to its speed what 2 s are to a H100's."""

PLACES: Final = tuple(
    Place(workload, profile, LONG_KNEE_S if (workload, profile) == (MOONCAKE, SLOW) else 2.0)
    for profile in (FAST, SLOW)
    for workload in (MOONCAKE, CHAT, RAG, AGENTS, PROMPTS, BURSTS, AZURE)
)

SHARES: Final = (0.5, 0.7, 0.85, 1.0, 1.1)
"""Of the knee."""

ALL: Final = (OURS, "queue-depth", *registry)
"""Every rule once: our `round-robin` and `least-request` are the plain ones."""

TELLING: Final = (
    OURS, "unified", "lmetric", "epp-sticky", "dynamo", "sglang-cache-aware", "epp-weighted", "plain-least-request",
)  # fmt: skip
"""For sweeps: the strongest, those of the best known systems, and one without a cache term."""

SWEPT: Final = (Place(MOONCAKE, FAST), Place(CHAT, FAST))

SWEEPS: Final = (
    Sweep(
        "arrivals",
        SWEPT[:1],
        (Point("spread"), Point("in batches", "--as-is")),
        (
            OURS,
            "unified",
            "lmetric",
            "epp-sticky",
            "dynamo",
            "aibrix-prefix-cache",
            "sglang-cache-aware",
            "bounded-hash",
            "plain-least-request",
            "queue-depth",
            "epp-weighted",
            "plain-round-robin",
        ),
        share=0.7,
        seeds=1,
    ),
    Sweep(
        "scrapes",
        SWEPT,
        (
            Point("50 ms", "--scrape-ms 50"),
            Point("200 ms"),
            Point("1 s", "--scrape-ms 1000"),
            Point("5 s", "--scrape-ms 5000"),
            Point("30 s", "--scrape-ms 30000"),
            Point("never", "--scrape-ms never"),
        ),
        TELLING,
    ),
    Sweep(
        "first-tokens",
        SWEPT,
        (
            Point("50 ms", "--first-tokens 50"),
            Point("250 ms"),
            Point("1 s", "--first-tokens 1000"),
            Point("never", "--first-tokens never"),
        ),
        TELLING,
    ),
    Sweep(
        "estimates",
        SWEPT,
        (Point("× 0.7", "--estimate 0.7"), Point("right"), Point("× 1.3", "--estimate 1.3")),
        TELLING,
    ),
    Sweep(
        "slow",
        SWEPT,
        (
            Point("all alike"),
            Point("half 2 × slower", "--fault slow:1:2 --fault slow:2:2 --fault slow:3:2 --fault slow:4:2"),
            Point("one 4 × slower for a third", "--fault slow:1:4@33%..67%"),
        ),
        TELLING,
        share=0.6,
    ),
    Sweep(
        "down",
        SWEPT,
        (
            Point("none"),
            Point("one crashes at a third", "--fault crash:1@33%"),
            Point("restarts, away for a tenth", "--fault restart:1@33%..43%"),
            Point("hangs for a tenth", "--fault hang:1@33%..43%"),
        ),
        TELLING,
        share=0.7,
    ),
    Sweep(
        "routers",
        SWEPT,
        (
            Point("1"),
            Point("2", "--routers 2"),
            Point("4", "--routers 4"),
            Point("4, exchange 20 ms", "--routers 4 --exchange-ms 20"),
            Point("4, exchange 100 ms", "--routers 4 --exchange-ms 100"),
        ),
        TELLING,
    ),
    Sweep(
        "engines",
        (Place(MOONCAKE, FAST), Place(CHAT, FAST)),
        (
            Point("8"),
            Point("32", "--engines 32", requests=4_000),
            Point("128", "--engines 128", requests=6_000),
            Point("256", "--engines 256", requests=8_000),
        ),
        (OURS, "unified", "lmetric", "plain-least-request"),
        seeds=1,
    ),
    Sweep(
        "memory",
        SWEPT,
        (
            Point("¼", "--kv 0.25"),
            Point("½", "--kv 0.5"),
            Point("1"),
            Point("2", "--kv 2"),
            Point("4", "--kv 4"),
        ),
        TELLING,
        pace="--rate",
    ),
    Sweep(
        "index",
        SWEPT,
        (
            Point("approximate, 1 router"),
            Point("precise, 1 router", "--kv-events"),
            Point("approximate, 4 routers", "--routers 4"),
            Point("precise, 4 routers", "--routers 4 --kv-events"),
        ),
        (OURS, "unified", "lmetric", "epp-sticky", "dynamo"),
    ),
)

REPORT: Final[tuple[Table, ...]] = (
    KneeTable(PLACES),
    Proof(PLACES, SHARES, ALL),
    *SWEEPS,
    Capacity(SWEPT, TELLING, "ttft=2s,tpot=50ms"),
    Sizes(SWEPT, TELLING, 0.7),
)
"""In the order of the document."""

QUICK_REQUESTS: Final = 60

_QUICK: Final = (Place(Workload("chat", "generate:chat", QUICK_REQUESTS), FAST),)
_QUICK_RULES: Final = (OURS, "unified", "oracle")

QUICK: Final[tuple[Table, ...]] = (
    KneeTable(_QUICK),
    Proof(_QUICK, (0.5, 1.0), _QUICK_RULES, seeds=2),
    Sweep("scrapes", _QUICK, (Point("200 ms"), Point("1 s", "--scrape-ms 1000")), _QUICK_RULES, seeds=1),
    Sizes(_QUICK, _QUICK_RULES[:2], 0.5),
)
"""The same machinery over next to nothing, to see that it runs; its numbers mean nothing."""


def with_seeds(table: Table, seeds: int) -> Table:
    """The same table over so many seeds; searches have one anyway."""
    return replace(table, seeds=seeds) if isinstance(table, Proof | Sweep) else table
