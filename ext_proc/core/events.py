"""Everything that changes the ledger, the index or an endpoint's health: values that say what happened.

Whoever saw the event may apply it, this sidecar or a peer, so that several pickers can act as one. `at` is in seconds
of the caller's monotonic clock; durations end in their unit.
"""

from dataclasses import dataclass
from typing import Literal

from ext_proc.core.gpus import GpusTold, GpusUntold


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """A request of `pool` was given to `address`; `uncached_tokens` of its `prompt_tokens` are to be computed there.

    `blocks` are the chained hashes of its prompt (`ext_proc.core.blocks`); after `max_age_s` the reservation is dropped
    whatever happens.
    """

    decision_id: str
    at: float
    address: str
    uncached_tokens: int
    prompt_tokens: int
    max_age_s: float
    pool: str = ""
    blocks: tuple[int, ...] = ()
    is_guess: bool = False
    """The blocks are of text: no engine will ever tell of them."""
    is_whole: bool = False
    """The answer comes in one piece, so that its first byte is its last."""
    session: bytes = b""
    """The session that is at home there from now on (`ext_proc.core.sessions`); empty where none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """The first body byte of the answer came from `address`, `ttft_ms` after the request had arrived.

    `status` is that of the answer: an error has a body, too."""

    decision_id: str
    address: str
    at: float
    ttft_ms: float
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """Envoy tries `address`, which need not be the one that was named."""

    decision_id: str
    address: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """One try is over. `flags` are Envoy's short response flags (`UF`, `UC`, `UT`, …), `failure` its own words."""

    decision_id: str
    address: str
    at: float
    status: int
    flags: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnded:
    """The client's request is over, after all attempts. `served` is empty when no endpoint answered.

    `aborted` is True when the client went away. Numbers that are None were not told.
    """

    decision_id: str
    at: float
    status: int
    served: str = ""
    attempts: int = 1
    flags: tuple[str, ...] = ()
    aborted: bool = False
    ttft_ms: float | None = None
    duration_ms: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnded:
    """The ext_proc stream that asked for the decision is over.

    Envoy ends it with the HTTP request. `closed_by_us` True: the picker closed it first (shutdown), so the request
    goes on and the event changes nothing.
    """

    decision_id: str
    at: float
    closed_by_us: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """An engine's own numbers: requests running and waiting, KV usage 0..1, block size and KV capacity in tokens, …

    None is not told; what each means is said at `ext_proc.signals.numbers.Scrape`, whose fields these are.
    """

    address: str
    at: float
    running: int
    waiting: int
    kv_usage: float | None = None
    block_size: int | None = None
    kv_tokens: int | None = None
    waiting_tokens: int | None = None
    max_running: int | None = None
    prefix_queries: int | None = None
    prefix_hits: int | None = None
    prefix_hit_rate: float | None = None
    preemptions: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    max_loras: int | None = None
    running_loras: tuple[str, ...] | None = None
    waiting_loras: tuple[str, ...] | None = None
    is_asleep: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeFailed:
    """An engine's numbers could not be read; they age, and that may count against it (`ext_proc.core.signs`)."""

    address: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """An engine was asked whether it is ready. `fault` is why it is not, empty if it is; `is_refused`: nobody even
    listens there."""

    address: str
    at: float
    fault: str = ""
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A request of the picker's own, for one token, is over; `status` 0: no answer. `is_late`: none within its limit;
    `is_refused`: nobody even listens there."""

    address: str
    at: float
    started_at: float
    status: int = 0
    is_late: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReported:
    """An engine's numbers that came unasked; which is which is said at `Scraped`. None is not told.

    `source` says how: by a report of its own, or on an answer (ORCA). `interval_s` is when the next one is due, where
    that was said. `models` are all names that it serves now, `adapters` those of them that are LoRA adapters.
    `draining` True: it wants no new requests; False: it does.
    """

    address: str
    at: float
    source: Literal["report", "orca"] = "report"
    interval_s: float | None = None
    running: int | None = None
    waiting: int | None = None
    waiting_tokens: int | None = None
    max_running: int | None = None
    kv_usage: float | None = None
    kv_tokens: int | None = None
    block_size: int | None = None
    models: tuple[str, ...] | None = None
    adapters: tuple[str, ...] | None = None
    draining: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsListed:
    """An engine was asked for the models that it serves, adapters among them (`/v1/models`)."""

    address: str
    at: float
    models: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksStored:
    """`address` has put prompt blocks into its prefix cache: chained hashes of `ext_proc.core.blocks`.

    They follow each other; the first one follows `parent`, or begins a prompt where that is None.
    """

    address: str
    at: float
    blocks: tuple[int, ...]
    parent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksRemoved:
    """`address` has evicted these blocks from its prefix cache, in any order."""

    address: str
    at: float
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCleared:
    """Nothing is known any more of what `address` has cached: it restarted, was reset, or events were lost for good."""

    address: str
    at: float


CacheEvent = BlocksStored | BlocksRemoved | CacheCleared
"""What engines themselves tell of their prefix caches."""

Event = (
    Picked
    | FirstToken
    | AttemptStarted
    | AttemptEnded
    | RequestEnded
    | StreamEnded
    | Scraped
    | ScrapeFailed
    | Probed
    | Tried
    | GpusTold
    | GpusUntold
    | LoadReported
    | ModelsListed
    | CacheEvent
)
