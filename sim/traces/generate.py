"""Makes traces: lays out the sessions of a load in time, from a seed.

The only module here that makes a random generator, and only `random.Random` with the given seed: the same seed gives
the same trace on any machine. Example:

    trace = generate("chat", seed=7, requests=12_000, rate=6.0)
    trace = generate(Chat(turns=10, think_s=5.0), seed=7)
    trace = generate("chat:turns=10,think_s=5", seed=7)
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import fields
from itertools import count

from sim.traces.agents import Agents
from sim.traces.chats import Chat, Diurnal
from sim.traces.load import Load, Session, Turn
from sim.traces.rows import MAX_REQUESTS
from sim.traces.singles import Bursts, Embeddings, Prompts, Rag
from sim.traces.texts import Texts
from sim.traces.trace import TIME_DIGITS, Trace, TraceRequest

LOADS: tuple[type[Load], ...] = (Chat, Prompts, Agents, Rag, Embeddings, Bursts, Diurnal)

KINDS = tuple(load.kind for load in LOADS)

# Enough for a classroom example and for a comparison of means; a study asks for more.
REQUESTS = 1_000

# Requests per second: about what the Mooncake conversation trace has (3.4).
RATE = 4.0

# The unit in which our picker compares prompts.
BLOCK_TOKENS = 64

# Sessions made first to learn how many requests a session has, so that sessions can start at the right rate.
SAMPLE = 200

# Mean lengths of a session before the trace begins: by then as many sessions end as start.
SETTLE_LENGTHS = 3

_Timed = tuple[float, int, str, Turn]


def generate(
    load: Load | str,
    seed: int,
    *,
    requests: int = REQUESTS,
    rate: float = RATE,
    block_tokens: int = BLOCK_TOKENS,
) -> Trace:
    """Make a trace of `requests` requests at exactly `rate` per second (its times are stretched to get there).

    Sessions are under way when it begins, as in a piece cut from real traffic: some began before it.
    `load` is one of `LOADS`, the name of its kind, or a name with parameters as `load_of` reads them. Raises ValueError
    when there is no such kind or a number is out of bounds.
    """
    if not 1 <= requests <= MAX_REQUESTS:
        raise ValueError(f"requests must be between 1 and {MAX_REQUESTS:,}, not {requests}")
    if not rate > 0 or block_tokens < 1:
        raise ValueError("the rate and the size of a block must be above 0")
    if isinstance(load, str):
        load = load_of(load)
    turns = _laid_out(load, random.Random(seed), rate, Texts(block_tokens))
    timed = [next(turns) for _ in range(requests)]
    start, end = timed[0][0], timed[-1][0]
    stretch = requests / rate / (end - start) if end > start else 1.0
    made = tuple(_request(round((at - start) * stretch, TIME_DIGITS), name, turn) for at, _, name, turn in timed)
    return Trace(f"{load.kind}-{seed}", block_tokens, made)


def load_of(text: str) -> Load:
    """Read `kind` or `kind:name=value,name=value`, as a command line has it. Raises ValueError with what is known."""
    kind, _, rest = text.partition(":")
    load = next((load for load in LOADS if load.kind == kind), None)
    if load is None:
        raise ValueError(f"{kind!r} is no kind of load; there are {', '.join(KINDS)}")
    defaults = {declared.name: declared.default for declared in fields(load)}
    given: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        name, _, value = pair.partition("=")
        if name not in defaults:
            raise ValueError(f"{kind} has no parameter {name!r}; it has {', '.join(defaults)}")
        given[name] = _value(name, value, defaults[name])
    return load(**given)


def _value(name: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, not {text!r}")
        return text == "true"
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{name} must be {kind}, not {text!r}") from None


def _laid_out(load: Load, rng: random.Random, rate: float, texts: Texts) -> Iterator[_Timed]:
    """Merge sessions by time, from the moment on at which as many end as start."""
    source = load.sessions(rng, texts)
    sample = [next(source) for _ in range(SAMPLE)]
    session_rate = rate * SAMPLE / sum(len(session) for session in sample)
    settled = SETTLE_LENGTHS * sum(max(turn.offset_s for turn in session) for session in sample) / SAMPLE
    pending: list[_Timed] = []
    order = count()
    for start, (name, session) in zip(load.starts(rng, session_rate), _named(sample, source), strict=False):
        while pending and pending[0][0] <= start:
            turn = heapq.heappop(pending)
            if turn[0] >= settled:
                yield turn
        for turn_ in session:
            heapq.heappush(pending, (start + turn_.offset_s, next(order), name, turn_))


def _named(sample: list[Session], source: Iterator[Session]) -> Iterator[tuple[str, Session]]:
    for number in count(1):
        yield f"s{number}", sample[number - 1] if number <= len(sample) else next(source)


def _request(at_s: float, session: str, turn: Turn) -> TraceRequest:
    return TraceRequest(
        at_s=at_s,
        blocks=turn.prompt.blocks,
        prompt_tokens=turn.prompt.tokens,
        output_tokens=turn.output_tokens,
        session=session,
        tenant=turn.tenant,
        stream=turn.stream,
        answer_blocks=turn.answer_blocks,
    )
