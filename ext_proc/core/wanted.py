"""What a request wants, read from what Envoy tells of it: before a pool is asked for a place, and when it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from ext_proc.core.alias import Asked, asked_of, replace_model
from ext_proc.core.blocks import block_hashes
from ext_proc.core.decision import Answer, OpenAIError, Rejected, Unpicked
from ext_proc.core.pool import Pool
from ext_proc.core.request import BadRequest, ParsedRequest, RequestFacts, Unpickable, parse_request
from ext_proc.core.settings import PickerSettings
from ext_proc.core.strategies.view import NO_REQUEST, Request

# Retry-After of a pool without endpoints: they usually come back by a restart, and a client that asks each second is
# no load.
NO_ENDPOINT_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a place is wanted for: a request that has been read already.

    `blocks` are the chained hashes of its prompt; strategies that do not look at prompts ignore them. After `timeout_s`
    and some slack its reservation is given up.
    """

    model: str
    tokens: int
    blocks: tuple[int, ...] = ()
    timeout_s: float
    request: Request = NO_REQUEST
    """What is known about the request beside its prompt, for strategies that look at it."""
    waited_s: float = 0.0
    """How long it has waited for a place."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that was read, and for which there is a pool: all that a pick needs."""

    request: ParsedRequest
    headers: Mapping[str, str]
    asked: Asked
    body: bytes | None
    timeout_s: float


def read(facts: RequestFacts, settings: PickerSettings, pools: Mapping[str, Pool]) -> Asking | Answer:
    """The request, or the answer to one that no pool is asked about; never raises. `pools` are by cluster."""
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
    if not len(pool.levels.slots):
        return no_endpoint(pool)
    body = replace_model(facts.body, asked.engine_model) if asked.engine_model != request.model else None
    timeout_s = settings.timeouts_s.get(facts.route, pool.settings.request_timeout_s)
    return Asking(request, facts.headers, asked, body, timeout_s)


def wanted_of(asking: Asking, *, needs_prompt: bool, waited_s: float = 0.0) -> Wanted:
    """What a request wants of its pool; its prompt is only hashed where somebody looks at it."""
    request, asked = asking.request, asking.asked
    tokens = request.tokens
    return Wanted(
        model=asked.model,
        tokens=tokens,
        # What the engine is asked for is what its cache knows the prompt under.
        blocks=block_hashes(request.prompt, asked.engine_model, request.salt) if needs_prompt else (),
        timeout_s=asking.timeout_s,
        request=Request(
            kind=request.kind,
            model=asked.engine_model,
            tokens=tokens,
            max_tokens=request.max_tokens,
            session=request.session,
            user=request.user,
            headers=asking.headers,
        ),
        waited_s=waited_s,
    )


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
