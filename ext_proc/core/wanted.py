"""What a request wants, read from what Envoy tells of it: before a pool is asked for a place, and when it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ext_proc.core.alias import Asked, asked_of, replace_model
from ext_proc.core.blocks import BLOCK_TOKENS, block_hashes
from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.decision import Answer, Degraded, OpenAIError, Rejected, Unpicked
from ext_proc.core.pool import Pool
from ext_proc.core.request import BadRequest, ParsedRequest, RequestFacts, Unpickable, parse_request
from ext_proc.core.settings import PickerSettings
from ext_proc.core.strategies.view import NO_REQUEST, Request
from ext_proc.core.token_blocks import hashes_of
from ext_proc.core.token_sizes import TokenSizes, block_tokens_of

# Retry-After of a pool without endpoints: they usually come back by a restart, and a client that asks each second is
# no load.
NO_ENDPOINT_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a place is wanted for: a request that has been read already.

    `blocks` are the chained hashes of its prompt, each of about `block_tokens`; strategies that do not look at prompts
    ignore them. `size` are the bytes of the prompt, 0 where its tokens are no estimate. After `timeout_s` and some
    slack its reservation is given up.
    """

    model: str
    tokens: int
    blocks: tuple[int, ...] = ()
    block_tokens: float = float(BLOCK_TOKENS)
    size: int = 0
    timeout_s: float
    request: Request = NO_REQUEST
    """What is known about the request beside its prompt, for strategies that look at it."""
    waited_s: float = 0.0
    """How long it has waited for a place."""
    degraded: Degraded | None = None
    """How it is not what the client asked for."""
    is_whole: bool = False
    """Its answer comes in one piece: its first byte says when it ended, not when it began."""


NO_FACTS = RequestFacts()


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that was read, and for which there is a pool: all that a pick needs."""

    request: ParsedRequest
    headers: Mapping[str, str]
    asked: Asked
    body: bytes | None
    timeout_s: float
    tokens: int
    """Of the prompt, about."""
    size: int
    """Bytes of the prompt."""
    counted: Counted = NOT_COUNTED
    """The prompt's tokens themselves, where they are known; then `tokens` is exact."""
    base_model: str = ""
    """What the pool's engines serve; every other name that they are asked for is that of an adapter."""
    facts: RequestFacts = NO_FACTS
    """What it was read from; `cluster` is that of the pool that it wants a place in."""
    degraded: Degraded | None = None
    """How it is not what the client sent, or not where Envoy would send it."""
    origin: "Asking | None" = None
    """The request as it was before that."""
    came_at: float = -math.inf
    """When it was read, where its model may be degraded: Envoy's routes for it are those of that moment."""


def read(
    facts: RequestFacts, settings: PickerSettings, pools: Mapping[str, Pool], sizes: TokenSizes
) -> Asking | Answer:
    """The request, or the answer to one that no pool is asked about; never raises. `pools` are by cluster.

    Whether anybody is in its pool is not looked at.
    """
    request = parse_request(facts)
    match request:
        case Unpickable():
            return Unpicked(request.reason)
        case BadRequest():
            return Rejected(status=400, error=request.error)
    pool = pools.get(facts.cluster)
    if pool is None:
        return Unpicked("the route leads to no pool")
    asked = asked_of(settings, facts.route, request.model)
    if asked is None:
        return Unpicked("unknown model")
    body = replace_model(facts.body, asked.engine_model) if asked.engine_model != request.model else None
    timeout_s = settings.timeouts_s.get(facts.route, pool.settings.request_timeout_s)
    counted, size = facts.counted, request.size
    tokens = counted.tokens if counted.is_exact else sizes.tokens(asked.engine_model, size)
    base = pool.settings.base_model
    return Asking(request, facts.headers, asked, body, timeout_s, tokens, size, counted, base, facts)


def wanted_of(asking: Asking, *, needs_prompt: bool, waited_s: float = 0.0) -> Wanted:
    """What a request wants of its pool; its prompt is only hashed where somebody looks at it."""
    request, asked, tokens = asking.request, asking.asked, asking.tokens
    return Wanted(
        model=asked.model,
        tokens=tokens,
        blocks=_blocks(asking) if needs_prompt else (),
        block_tokens=float(BLOCK_TOKENS) if asking.counted.is_exact else block_tokens_of(tokens, asking.size),
        size=0 if asking.counted.is_exact else asking.size,
        timeout_s=asking.timeout_s,
        request=Request(
            kind=request.kind,
            model=asked.engine_model,
            tokens=tokens,
            max_tokens=request.max_tokens,
            session=request.session,
            user=request.user,
            headers=asking.headers,
            counted_by=_counted_by(asking.counted),
        ),
        waited_s=waited_s,
        degraded=asking.degraded,
        is_whole=not request.stream and request.kind != "embedding",
    )


def _blocks(asking: Asking) -> tuple[int, ...]:
    """What the engine is asked for is what its cache knows the prompt under; a base model has no name there."""
    name, salt, ids = asking.asked.engine_model, asking.request.salt, asking.counted.ids
    if ids is None:
        return block_hashes(asking.request.prompt, name, salt)
    return hashes_of(ids, "" if name == asking.base_model else name, salt)


def _counted_by(counted: Counted) -> str:
    if counted.is_exact:
        return "tokens"
    return f"text: {counted.why}" if counted.why else "text"


def no_endpoint(pool: Pool) -> Rejected:
    """The answer of a pool in which nobody is available."""
    return Rejected(
        status=503,
        error=OpenAIError(
            message=f"no endpoint of pool {pool.settings.name} is available",
            type="service_unavailable",
            code="no_endpoint",
        ),
        retry_after_s=NO_ENDPOINT_RETRY_AFTER_S,
    )
