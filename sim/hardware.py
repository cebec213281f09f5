"""Engine profiles of real accelerators and models, by roofline arithmetic from public numbers.

Pure values. But for llama.cpp's profile, which is fitted to a published measurement, nothing here was measured: the
accelerators' numbers are those of NVIDIA's data sheets, the models' those of their published configurations, and the
share of the peak that an engine reaches is one constant for all. So profiles differ from each other as the hardware
does, and a run tells which rule is faster rather than how fast a deployment is.

How each number of a profile follows (`roofline`):

    prefill_tokens_per_s    compute / (2 FLOP per weight of the layers)
    attention_ns_per_pair   (QK and PV: 4 FLOP per layer, head and head dimension) / compute
    step_base_ms            bytes of the weights / bandwidth + fixed overhead + the all-reduces of tensor parallelism
    kv_read_ns_per_token    bytes of one token's keys and values / bandwidth
    kv_blocks               0.9 of the memory, less weights and work space, in blocks of 16 tokens
"""

from dataclasses import dataclass

from sim.profile import DEMO, Profile

COMPUTE_SHARE = 0.5
"""Of the dense BF16 peak, what the matrix products of a prefill reach in an engine: commonly reported as 40 to 60 %."""

BANDWIDTH_SHARE = 0.75
"""Of the peak bandwidth, what a decode step reaches: commonly reported as 70 to 80 %."""

PARALLEL_SHARE = 0.8
"""What is left of the compute of several GPUs after the exchange between the layers of a prefill."""

ALL_REDUCE_S = 10e-6
"""One small all-reduce over NVLink; there are two per layer, and a decode step waits for each."""

OVERHEAD_S = 1e-3
"""Launching a step and bringing its tokens back; CUDA graphs and asynchronous scheduling leave about this."""

PER_REQUEST_S = 20e-6
"""Scheduling, sampling and bookkeeping of one request in one step. Its matrix work hides behind reading the weights,
up to the batch where computing takes longer than reading: some 200 requests on these accelerators, of long prompts more
than the memory holds."""

MEMORY_SHARE = 0.9
"""vLLM's `gpu_memory_utilization` (the default through 0.11)."""

WORK_SPACE_GB = 2.0
"""Per GPU: activations of the largest step, CUDA graphs, the runtime."""

BYTES = 2
"""Per weight and per key or value: BF16."""

BLOCK_SIZE = 16
"""vLLM's default on GPUs."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU as its data sheet describes it."""

    name: str
    tflops: float
    """Dense BF16 tensor peak, without sparsity."""

    memory_gb: float
    bandwidth_gb_s: float
    max_batch: int
    """vLLM V1's default `max_num_seqs` for a server: 1,024 from 70 GiB on (but for A100), else 256."""

    token_budget: int
    """vLLM V1's default `max_num_batched_tokens` for a server: 8,192 from 70 GiB on (but for A100), else 2,048."""


@dataclass(frozen=True, slots=True)
class Model:
    """A dense transformer with grouped-query attention, as its `config.json` describes it."""

    name: str
    parameters: float
    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int

    @property
    def embedding(self) -> int:
        """Weights of the input embedding, and as many of the output layer."""
        return self.vocabulary * self.width

    @property
    def layer_flops(self) -> float:
        """FLOP of one prompt token in the linear layers; the output layer is computed for the last token only."""
        return 2 * (self.parameters - 2 * self.embedding)

    @property
    def pair_flops(self) -> int:
        """FLOP of one token's attention to one other."""
        return 4 * self.layers * self.heads * self.head_width

    @property
    def weight_bytes(self) -> float:
        """What the memory holds."""
        return self.parameters * BYTES

    @property
    def read_bytes(self) -> float:
        """What a step reads of it: all but the input embedding, of which it looks up a few rows."""
        return (self.parameters - self.embedding) * BYTES

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head_width * BYTES


# NVIDIA's data sheets "H100 Tensor Core GPU" (SXM5: 1,979 TFLOPS BF16 with sparsity, 80 GB, 3.35 TB/s), "A100 80GB"
# (SXM4: 312 TFLOPS, 2,039 GB/s) and "L4" (242 TFLOPS with sparsity, 24 GB, 300 GB/s). H20: no public data sheet; as
# reported throughout the press (148 TFLOPS, 96 GB, 4.0 TB/s).
H100 = Accelerator("h100", 989.5, 80, 3350, 1024, 8192)
A100 = Accelerator("a100", 312, 80, 2039, 256, 2048)
L4 = Accelerator("l4", 121, 24, 300, 256, 2048)
H20 = Accelerator("h20", 148, 96, 4000, 1024, 8192)

# "The Llama 3 Herd of Models" (arXiv 2407.21783), table 3, and the models' config.json.
LLAMA_8B = Model("8b", 8.03e9, 128_256, 4096, 32, 32, 8, 128)
LLAMA_70B = Model("70b", 70.55e9, 128_256, 8192, 80, 64, 8, 128)


def roofline(gpu: Accelerator, model: Model, count: int = 1) -> Profile:
    """The profile of `count` GPUs that serve one model together. Raises ValueError when the model does not fit."""
    compute = gpu.tflops * 1e12 * count * COMPUTE_SHARE * (PARALLEL_SHARE if count > 1 else 1.0)
    bandwidth = gpu.bandwidth_gb_s * 1e9 * count * BANDWIDTH_SHARE
    exchange = 2 * model.layers * ALL_REDUCE_S if count > 1 else 0.0
    room = (gpu.memory_gb * MEMORY_SHARE - WORK_SPACE_GB) * 1e9 * count - model.weight_bytes
    if room < model.kv_bytes * BLOCK_SIZE:
        raise ValueError(f"{model.name} does not fit into {count} × {gpu.name}")
    return Profile(
        block_size=BLOCK_SIZE,
        kv_blocks=int(room / model.kv_bytes) // BLOCK_SIZE,
        max_batch=gpu.max_batch,
        token_budget=gpu.token_budget,
        prefill_tokens_per_s=round(compute / model.layer_flops, 1),
        step_base_ms=round((model.read_bytes / bandwidth + OVERHEAD_S + exchange) * 1e3, 3),
        step_per_request_ms=PER_REQUEST_S * 1e3,
        attention_ns_per_pair=round(model.pair_flops / compute * 1e9, 4),
        kv_read_ns_per_token=round(model.kv_bytes / bandwidth * 1e9),
    )


# Fitted to the sample in llama.cpp's own examples/batched-bench/README.md (LLaMA 7B, F16, prompts not shared), for 1, 2
# and 4 requests at a time: decode steps of 24.1, 39.3 and 53.7 ms, prompts of 128 tokens each in 108, 198 and 373 ms.
# The memory is an assumption: room for 32,768 tokens in each slot, 64 GiB of keys and values in F16, since the sample's
# 4,096 hold no conversation. `tests/unit/sim/test_hardware.py` plays the sample.
LLAMACPP_7B = Profile(
    engine="llamacpp",
    block_size=BLOCK_SIZE,
    kv_blocks=4 * 32_768 // BLOCK_SIZE,
    max_batch=4,  # llama-server's `--parallel` when nothing is said
    token_budget=2_048,  # its `--batch-size`
    prefill_tokens_per_s=1_570.0,
    step_base_ms=16.8,
    step_per_request_ms=8.9,
    # 4 FLOP × 32 layers × 4,096 at the pace of the linear layers: 1,570 × 2 × 6.74e9 FLOP/s.
    attention_ns_per_pair=24.8,
    # By how much the sample's steps are longer with twice the answer: 0.8 ms for 4 × 64 tokens, 6.3 ms for 32 × 64.
    kv_read_ns_per_token=3_100,
    ram_tokens=16_384,  # `--cache-ram`: 8 GiB of half a MiB per token (32 layers × 2 × 4,096 × 2 bytes)
)

PROFILES = {
    "demo": DEMO,
    "h100-8b": roofline(H100, LLAMA_8B),
    "h100x4-70b": roofline(H100, LLAMA_70B, 4),
    "a100-8b": roofline(A100, LLAMA_8B),
    "l4-8b": roofline(L4, LLAMA_8B),
    "h20-8b": roofline(H20, LLAMA_8B),
    "h20x4-70b": roofline(H20, LLAMA_70B, 4),
    "llamacpp-7b": LLAMACPP_7B,
}
"""Profiles by the name that `--profile` takes."""


def named(name: str) -> Profile:
    """The profile of this name. Raises ValueError, which lists the names, when there is none."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}") from None
