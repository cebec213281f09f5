"""How long one try may take until the answer's first byte, before Envoy tries the next endpoint.

A streamed answer sends its headers early; a plain one sends nothing until all of it is generated, so that its limit
must cover the generation: a shorter one would start the same generation again elsewhere, twice, and then fail. The
automatic limit is for pods that hang, not for slow ones: it is long on purpose, since a try cut too early is work lost.
"""

from ext_proc.core.request import ParsedRequest
from ext_proc.core.settings import PoolSettings

# A cold engine compiles kernels or loads an adapter on its first request.
AUTO_FLOOR_S = 30.0

# A tenth of what one H100 prefills on a 70B model; small GPUs and CPUs reach it.
AUTO_TOKENS_PER_S = 500.0

# Engines' usual limit where a request names none, and the slowest decoding that people accept.
DEFAULT_MAX_TOKENS = 4_096
SLOWEST_TOKEN_S = 0.1


def first_byte_ms(
    request: ParsedRequest, pool: PoolSettings, uncached_tokens: float, timeout_s: float | None = None
) -> int | None:
    """The limit in ms for a request behind `uncached_tokens` of work (its own included).

    None where the request's own timeout ends it no later: `timeout_s`, or else the pool's.
    """
    limit_s = pool.first_byte_s
    if limit_s is None:
        limit_s = AUTO_FLOOR_S + uncached_tokens / AUTO_TOKENS_PER_S
    if not request.stream and request.kind != "embedding":
        limit_s += _generated(request) * SLOWEST_TOKEN_S
    return None if limit_s >= (timeout_s or pool.request_timeout_s) else max(1, round(limit_s * 1_000))


def _generated(request: ParsedRequest) -> int:
    asked = request.max_tokens
    return DEFAULT_MAX_TOKENS if asked is None else max(0, asked)
