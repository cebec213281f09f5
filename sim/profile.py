"""The numbers that describe one simulated engine and its accelerator.

Pure values; `sim.hardware` has profiles of real accelerators. `DEMO` is a mid-size model on a modest one, slow enough
that a person sees what a cache hit saves: a cold prompt of 2,000 tokens takes about 0.4 s to its first token, a decode
step about 8 ms.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One engine's size and speed. Raises ValueError when the numbers contradict each other.

    A step lasts as long as its parts together: reading the weights, what each request costs, the linear layers for the
    prompt tokens, their attention to what is before them, and reading the KV of the decoding requests.
    """

    block_size: int = 16
    """Tokens per KV block; vLLM's default on GPUs."""

    kv_blocks: int = 3_750
    """KV blocks that fit into memory: 60,000 tokens, a few long chats, so that eviction is seen within a short demo."""

    max_batch: int = 64
    """Most requests computed in one step (vLLM: `max_num_seqs`); small enough that queues form under a demo's load."""

    token_budget: int = 512
    """Tokens computed in one step (vLLM: `max_num_batched_tokens`); bounds a step to about 0.1 s, so that a long prompt
    stalls the running streams visibly but never for long."""

    prefill_tokens_per_s: float = 5_000.0
    """Uncached prompt tokens per second: 2,000 tokens in 400 ms."""

    step_base_ms: float = 7.5
    """Fixed time of a step: reading the weights once. Decoding is bound by it."""

    step_per_request_ms: float = 0.1
    """What each request in the batch adds to a step, however long it is: scheduling, sampling, its own token."""

    attention_ns_per_pair: float = 0.0
    """What one prompt token costs for each token that it attends to, itself included: prefill grows with the square of
    the prompt. 0: a short-context model in which nobody would see it."""

    kv_read_ns_per_token: float = 0.0
    """What a decoding request adds to a step for each token of its context; whole nanoseconds count."""

    engine: Literal["vllm", "llamacpp"] = "vllm"
    """By whose rules it works: blocks that requests share (`sim.engine`), or `max_batch` slots of which each has an
    equal part of the memory (`sim.slots`)."""

    ram_tokens: int = 0
    """Tokens of prompts that an engine with slots keeps in main memory (llama.cpp: `--cache-ram`)."""

    prefix_caching: bool = True
    """Whether it keeps what it computed for later requests (vLLM: `--no-enable-prefix-caching` switches it off)."""

    max_waiting: int | None = None
    """Queue length at which new requests are refused with 503 (vLLM: `--max-num-queued-reqs`); None: no limit."""

    def __post_init__(self) -> None:
        """Refuse sizes with which the engine could not make progress."""
        if min(self.block_size, self.kv_blocks, self.max_batch) < 1:
            raise ValueError("block_size, kv_blocks and max_batch must be at least 1")
        if self.token_budget < self.max_batch:
            raise ValueError("token_budget must cover one token for each of max_batch requests")
        if self.prefill_tokens_per_s <= 0 or self.step_base_ms <= 0 or self.step_per_request_ms < 0:
            raise ValueError("speeds and the base step time must be positive")
        if self.attention_ns_per_pair < 0 or self.kv_read_ns_per_token < 0:
            raise ValueError("attention_ns_per_pair and kv_read_ns_per_token must not be negative")
        if (self.max_waiting is not None and self.max_waiting < 0) or self.ram_tokens < 0:
            raise ValueError("max_waiting and ram_tokens must not be negative")

    @property
    def kv_tokens(self) -> int:
        """KV capacity in tokens; also the longest prompt plus answer that one request may need."""
        return self.kv_blocks * self.block_size

    def step_s(self, requests: int, prefill_tokens: int, pairs: int = 0) -> float:
        """Seconds of one step without reading any KV; `pairs` counts (prompt token, token attended to)."""
        seconds = (self.step_base_ms + self.step_per_request_ms * requests) / 1e3
        return seconds + prefill_tokens / self.prefill_tokens_per_s + pairs * self.attention_ns_per_pair / 1e9

    def prefill_s(self, tokens: int, context: int = 0) -> float:
        """Seconds from the start of a lone request to its first token: `tokens` to compute after `context` cached ones.

        Chunks as large as the budget allows, each in a step of its own. Raises ValueError without a token.
        """
        if tokens < 1:
            raise ValueError("a prefill computes at least one token")
        steps = -(-tokens // self.token_budget)
        pairs = tokens * (2 * context + tokens + 1) // 2
        return (steps - 1) * self.step_s(1, 0) + self.step_s(1, tokens, pairs)

    def with_block_size(self, block_size: int) -> "Profile":
        """The same memory in blocks of another size; what does not fill a block is lost.

        Raises ValueError for a size below 1, or for one of which not one block fits.
        """
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        if self.kv_tokens < block_size:
            raise ValueError(f"the memory holds {self.kv_tokens:,} tokens, not one block of {block_size:,}")
        return replace(self, block_size=block_size, kv_blocks=self.kv_tokens // block_size)

    def with_memory(self, factor: float) -> "Profile":
        """The same engine with so many times its KV memory. Raises ValueError when not one block is left."""
        if self.kv_blocks * factor < 1:
            raise ValueError(f"the KV memory × {factor:g} does not hold one block of {self.block_size} tokens")
        return replace(self, kv_blocks=int(self.kv_blocks * factor))


DEMO = Profile()
"""What `kvpilot demo` and `kvpilot pods` run."""
