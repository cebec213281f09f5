"""`/metrics` of a simulated pod, in the names and labels of vLLM 0.32.

Pure. Held against a dump of a real vLLM 0.32 by the tests. Counters come with their `_created` gauges and labels in
alphabetical order, as prometheus_client writes them there, because those are what a scraper stumbles over.
"""

from bisect import bisect_left
from collections.abc import Iterable

from sim.engine import Gauges, Profile

VLLM_VERSION = "0.32.0"
"""The version whose metrics and bodies are imitated; what `/version` says."""

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
"""Upper bounds of vLLM's time-to-first-token histogram, in seconds."""

FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
"""Values of `finished_reason`; vLLM shows all of them from the start."""

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """A cumulative histogram."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start empty."""
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Values seen."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Upper bound and number of values up to it, ending with +Inf."""
        rows, seen = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows


class Observations:
    """What the pod counts beside the engine's own gauges."""

    # What changes: everything. Single writer: the pod's event loop.
    def __init__(self) -> None:
        """Start at zero."""
        self.ttft_s = Histogram(TTFT_BUCKETS_S)
        self.finished = dict.fromkeys(FINISH_REASONS, 0)
        self.rejected = 0


def render(model: str, profile: Profile, gauges: Gauges, seen: Observations, created: float) -> str:
    """The whole body. `created` is the Unix time at which the pod started."""
    writer = _Writer(model, created)
    _requests(writer, gauges)
    _cache(writer, gauges)
    _tokens(writer, gauges)
    writer.counter(
        "request_success_total",
        "Requests that ended, by reason.",
        [((("finished_reason", reason),), count) for reason, count in seen.finished.items()],
    )
    writer.counter(
        "admission_rejections_total",
        "Requests refused because the queue was full.",
        [((("reason", "max_num_queued_reqs"),), seen.rejected), ((("reason", "max_num_queued_tokens"),), 0)],
        with_engine=False,
    )
    writer.histogram("time_to_first_token_seconds", "Time from arrival to the first token.", seen.ttft_s)
    _config(writer, profile)
    return writer.text()


def _requests(writer: "_Writer", gauges: Gauges) -> None:
    writer.gauge("num_requests_running", "Requests in the batch.", [((), gauges.running)])
    writer.gauge("num_requests_waiting", "Requests in the queue.", [((), gauges.waiting)])
    writer.gauge(
        "num_requests_waiting_by_reason",
        "Requests in the queue, by what they wait for.",
        [((("reason", "capacity"),), gauges.waiting), ((("reason", "deferred"),), 0)],
    )
    writer.gauge(
        "engine_sleep_state",
        "Whether the engine is awake.",
        [((("sleep_state", state),), state == "awake") for state in ("awake", "weights_offloaded", "discard_all")],
    )


def _cache(writer: "_Writer", gauges: Gauges) -> None:
    writer.gauge("kv_cache_usage_perc", "Share of the KV blocks in use, 0 to 1.", [((), gauges.kv_usage)])
    writer.counter("prefix_cache_queries_total", "Tokens looked up in the cache.", [((), gauges.prefix_queries)])
    writer.counter("prefix_cache_hits_total", "Tokens found in the cache.", [((), gauges.prefix_hits)])
    writer.counter("num_preemptions_total", "Requests that lost their memory.", [((), gauges.preemptions)])


def _tokens(writer: "_Writer", gauges: Gauges) -> None:
    writer.counter("prompt_tokens_total", "Prompt tokens, cached ones included.", [((), gauges.prompt_tokens)])
    writer.counter(
        "prompt_tokens_by_source_total",
        "Prompt tokens, by where they came from.",
        [
            ((("source", "local_compute"),), gauges.prompt_tokens - gauges.cached_tokens),
            ((("source", "local_cache_hit"),), gauges.cached_tokens),
            ((("source", "external_kv_transfer"),), 0),
        ],
    )
    writer.counter("prompt_tokens_cached_total", "Prompt tokens from the cache.", [((), gauges.cached_tokens)])
    writer.counter("generation_tokens_total", "Tokens generated.", [((), gauges.generation_tokens)])


def _config(writer: "_Writer", profile: Profile) -> None:
    labels = {
        "_block_size_resolved": "True",
        "block_size": str(profile.block_size),
        "cache_dtype": "auto",
        "enable_prefix_caching": "True",
        "engine": "0",
        "gpu_memory_utilization": "0.92",
        "kv_cache_size_tokens": str(profile.kv_tokens),
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(profile.kv_blocks),
        "num_gpu_blocks_override": "None",
        "prefix_caching_hash_algo": "sha256",
        "sliding_window": "None",
    }
    writer.family("cache_config_info", "gauge", "How the cache is set up.")
    writer.sample("cache_config_info", tuple(labels.items()), 1, with_common=False)


class _Writer:
    """Builds the text format, with the labels that every vLLM sample has."""

    def __init__(self, model: str, created: float) -> None:
        self._engine: Labels = (("engine", "0"),)
        self._model: Labels = (("model_name", model),)
        self._created = created
        self._lines: list[str] = []

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def family(self, name: str, kind: str, text: str) -> None:
        self._lines += (f"# HELP vllm:{name} {text}", f"# TYPE vllm:{name} {kind}")

    def sample(
        self, name: str, labels: Labels, value: float, *, with_common: bool = True, with_engine: bool = True
    ) -> None:
        if with_common:
            labels = (*labels, *self._model, *(self._engine if with_engine else ()))
        written = ",".join(f'{key}="{escaped(text)}"' for key, text in sorted(labels))
        self._lines.append(f"vllm:{name}{{{written}}} {float(value)}")

    def gauge(self, name: str, text: str, samples: Iterable[tuple[Labels, float]]) -> None:
        self.family(name, "gauge", text)
        for labels, value in samples:
            self.sample(name, labels, value)

    def counter(
        self, name: str, text: str, samples: Iterable[tuple[Labels, float]], *, with_engine: bool = True
    ) -> None:
        rows = list(samples)
        self.family(name, "counter", text)
        for labels, value in rows:
            self.sample(name, labels, value, with_engine=with_engine)
        self._creation(name.removesuffix("_total"), text, [labels for labels, _ in rows], with_engine=with_engine)

    def histogram(self, name: str, text: str, histogram: Histogram) -> None:
        self.family(name, "histogram", text)
        for bound, count in histogram.cumulative():
            self.sample(f"{name}_bucket", (("le", bound),), count)
        self.sample(f"{name}_count", (), histogram.count)
        self.sample(f"{name}_sum", (), histogram.total)
        self._creation(name, text, [()])

    def _creation(self, name: str, text: str, rows: list[Labels], *, with_engine: bool = True) -> None:
        self.family(f"{name}_created", "gauge", text)
        for labels in rows:
            self.sample(f"{name}_created", labels, self._created, with_engine=with_engine)


def escaped(text: str) -> str:
    """A label's value as the text format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
