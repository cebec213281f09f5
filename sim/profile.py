"""The numbers that describe one simulated engine and its accelerator.

Pure values. `DEMO` is a mid-size model on a modest accelerator, slow enough that a person sees what a cache hit saves:
a cold prompt of 2,000 tokens takes about 0.4 s to its first token, a decode step about 8 ms.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One engine's size and speed. Raises ValueError when the numbers contradict each other."""

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
    """What each request in the batch adds to a step: its attention over its own context."""

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
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError("max_waiting must not be negative")

    @property
    def kv_tokens(self) -> int:
        """KV capacity in tokens; also the longest prompt plus answer that one request may need."""
        return self.kv_blocks * self.block_size


DEMO = Profile()
"""What `kvpilot demo` and `kvpilot pods` run."""
