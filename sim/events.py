"""What goes into an engine and what comes out of it: requests, events, gauges.

Pure values; times are seconds of the engine's clock.
"""

from dataclasses import dataclass


class RequestTooLongError(ValueError):
    """Prompt and answer together would never fit into this engine's KV memory."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked to do. Raises ValueError when it has no prompt or no answer."""

    id: str
    """Unique among the unfinished requests of one engine."""

    blocks: tuple[int, ...]
    """Hashes of the full blocks of the prompt, each chained over all before it; further ones are those of the answer.
    Blocks without a hash are computed and stored, but no other request finds them."""

    prompt_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        """Refuse what an engine would refuse."""
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError("a request needs at least one prompt token and one output token")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished request took, as in the `usage` of an answer."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The prefill of a request has ended at `at` (seconds) with its first token; `cached_tokens` were found."""

    id: str
    at: float
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Token:
    """`n` further tokens; the last of them at `at` (seconds)."""

    id: str
    at: float
    n: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The request has all its tokens and its blocks are released."""

    id: str
    at: float
    usage: Usage


Event = FirstToken | Token | Finished


@dataclass(frozen=True, slots=True)
class Stored:
    """Full blocks got into the prefix cache, to be known from `at` (seconds) on.

    They follow each other in one prompt; the first one follows `parent`, or begins the prompt where that is None.
    """

    at: float
    blocks: tuple[int, ...]
    parent: int | None


@dataclass(frozen=True, slots=True)
class Removed:
    """Blocks left the prefix cache, to be known from `at` (seconds) on."""

    at: float
    blocks: tuple[int, ...]


CacheEvent = Stored | Removed


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the engine shows of itself: the state at the end of its last step. Counters are totals since the start."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    """Share of the KV blocks that running requests hold, 0 to 1; idle cached blocks do not count (as in vLLM)."""

    prompt_tokens: int = 0
    """Counted at the first token, cached ones included."""

    cached_tokens: int = 0
    """The part of `prompt_tokens` that came from the cache."""

    generation_tokens: int = 0
    prefix_queries: int = 0
    """Prompt tokens looked up at admission."""

    prefix_hits: int = 0
    """Those of them that were found."""

    preemptions: int = 0
    finished: int = 0
    aborted: int = 0
    steps: int = 0
