"""What one pick costs: `python -m bench.pick` prints tables and, as its last line, the same as JSON.

    python -m bench.pick              # 10, 100 and 1,000 endpoints, prompts of 1k, 8k, 32k and 128k tokens
    python -m bench.pick --rounds 50  # shorter

Each figure is CPU time, the least of several repetitions of a mean, in µs, by stage: `decode` (Envoy's message),
`parse` (its JSON), `hash` (the prompt's blocks), `match` (who holds them), `cost` (the ranking of the endpoints),
`index` (the prompt's blocks begin and end to be in use), `encode` (the answer). `pick` is `Picker.decide`, and the
event of the request's end, for prompts that come again: all stages but the first and the last, measured one by one, so
that they need not add up, and the record. `new` is what `index` costs at its worst: no block is known, and as many have
to go.

*Memory* is what the index takes for a million tokens that endpoints have cached, by tracemalloc and by its own
estimate. No sockets: `bench.overhead` measures the way through Envoy.
"""

import argparse
import json
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ext_proc.core.blocks import BLOCK_TOKENS, BYTES_PER_TOKEN, block_hashes, tokens_of
from ext_proc.core.events import RequestEnded
from ext_proc.core.exchange import Message, Pick
from ext_proc.core.fleet import Fleet
from ext_proc.core.index import MAX_BLOCKS_IN_ALL, PrefixIndex
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.kv_aware import prompt_of, rank
from ext_proc.core.strategies.view import View
from ext_proc.wire import ATTRIBUTES_KEY, ExchangeWire
from protos.messages import load

ENDPOINTS = (10, 100, 1_000)
PROMPT_TOKENS = (1_000, 8_000, 32_000, 128_000)
REPETITIONS = 7
DEFAULT_ROUNDS = 300

# Distinct conversations that go round, so that the index holds more than the one prompt that is asked for.
CONVERSATIONS = 20

# What the index holds before anything is measured, at most: half of its bound, so that nothing has to go.
WARM_BLOCKS = MAX_BLOCKS_IN_ALL // 2

# Endpoints that have the same million tokens.
SHARING = (1, 10, 100)

_WORDS = ("cache", "prefix", "token", '"quoted"', "line\nbreak", "überall", "attention", "pod")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, in µs."""

    endpoints: int
    prompt_tokens: int
    decode: float
    parse: float
    hash: float
    match: float
    cost: float
    index: float
    encode: float
    new: float
    pick: float


_STAGES = tuple(name for name in Row.__slots__ if name not in ("endpoints", "prompt_tokens"))


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description="What one pick costs, in µs.")
    arguments.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS, help="picks per repetition")
    rounds = arguments.parse_args().rounds
    rows = [measured(endpoints, tokens, rounds) for tokens in PROMPT_TOKENS for endpoints in ENDPOINTS]
    console = Console(width=120)
    table = Table("endpoints", "prompt tokens", *_STAGES, title="µs a pick")
    for row in rows:
        figures = (getattr(row, name) for name in _STAGES)
        table.add_row(f"{row.endpoints:,}", f"{row.prompt_tokens:,}", *(f"{figure:,.0f}" for figure in figures))
    console.print(table)
    memory = [cached_memory(sharing) for sharing in SHARING]
    table = Table("endpoints with the same tokens", "MB", "by its own estimate", title="a million cached tokens")
    for each in memory:
        table.add_row(str(each["endpoints"]), f"{each['bytes'] / 1e6:.1f}", f"{each['estimated_bytes'] / 1e6:.1f}")
    console.print(table)
    found = {"benchmark": "pick", "unit": "us", "rows": [_as_dict(row) for row in rows], "memory": memory}
    print(json.dumps(found))


def cached_memory(sharing: int) -> dict[str, int]:
    """Bytes of the index per million tokens that are cached in all, where so many endpoints have the same ones."""
    rng = random.Random(1)
    blocks = 1_000_000 // BLOCK_TOKENS
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    index = PrefixIndex(max_per_slot=blocks, max_in_all=blocks * sharing)
    per_prompt = 500  # 32,000 tokens
    for _ in range(blocks // per_prompt):
        prompt = tuple(rng.getrandbits(64) for _ in range(per_prompt))
        for slot in range(sharing):
            index.insert(slot, prompt)
    del prompt
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    millions = len(index) * BLOCK_TOKENS / 1e6
    return {
        "endpoints": sharing,
        "bytes": round(taken / millions),
        "estimated_bytes": round(index.size_bytes / millions),
    }


def measured(endpoints: int, tokens: int, rounds: int) -> Row:
    """One line: a pool of that size, warm with conversations, and prompts of about that many tokens."""
    rng = random.Random(1)
    bodies = [_body(tokens, rng) for _ in range(CONVERSATIONS)]
    facts = [RequestFacts(body=body, path="/v1/chat/completions", cluster="pool/p") for body in bodies]
    parsed = _parsed(facts[0])
    text = parsed.prompt
    blocks = block_hashes(text, parsed.model)
    fleet, view = _warm(endpoints, [_blocks(each) for each in facts], tokens_of(text))
    rounds = max(1, rounds // (1 + tokens // 4_000))
    wire = ExchangeWire(load())
    message = _message(facts[0])
    named = Named(decision_id="0" * 16, endpoints=_names(3), first_byte_ms=1_000)
    answer = Pick(message=Message.REQUEST_BODY, named=named)
    slot = int(view.slots[0])
    return Row(
        endpoints=endpoints,
        prompt_tokens=tokens,
        decode=_microseconds(lambda i: wire.decode(message), rounds),
        parse=_microseconds(lambda i: parse_request(facts[i % CONVERSATIONS]), rounds),
        hash=_microseconds(lambda i: block_hashes(text, parsed.model), rounds),
        match=_microseconds(lambda i: fleet.index.match(blocks).depths(fleet.slots.capacity), rounds),
        cost=_microseconds(lambda i: rank(view, rng), rounds),
        index=_microseconds(lambda i: _use(fleet.index, slot, blocks), rounds),
        encode=_microseconds(lambda i: wire.encode(answer), rounds),
        new=_new_cost(len(blocks), rounds, rng),
        pick=_pick_cost(endpoints, facts, rounds, rng),
    )


def _use(index: PrefixIndex, slot: int, blocks: tuple[int, ...]) -> None:
    index.begin(slot, blocks)
    index.end(slot, blocks)


def _new_cost(length: int, rounds: int, rng: random.Random) -> float:
    prompts = [tuple(rng.getrandbits(64) for _ in range(length)) for _ in range(CONVERSATIONS)]
    index = PrefixIndex(max_per_slot=length * CONVERSATIONS // 2)  # too small to meet any of them again
    numbers = count()  # over all repetitions, else short ones would meet theirs
    return _microseconds(lambda i: index.insert(0, prompts[next(numbers) % CONVERSATIONS]), rounds)


def _pick_cost(endpoints: int, facts: list[RequestFacts], rounds: int, rng: random.Random) -> float:
    picker = Picker(_settings(endpoints))
    now = 0.0

    def one(i: int) -> None:
        nonlocal now
        now += 0.001
        answer = picker.decide(facts[i % CONVERSATIONS], now, rng)
        if not isinstance(answer, Named):
            raise TypeError(f"not picked: {answer}")
        # What a pick is about; its end is measured too, it is what keeps the ledger from growing.
        picker.apply(RequestEnded(decision_id=answer.decision_id, at=now, status=200, served=answer.endpoints[0]))

    return _microseconds(one, rounds)


def _warm(endpoints: int, conversations: list[tuple[int, ...]], tokens: int) -> tuple[Fleet, View]:
    fleet = Fleet()
    addresses = _names(endpoints)
    fleet.want(set(addresses))
    slots = np.array([fleet.slots.acquire(address) for address in addresses])
    for number, blocks in enumerate(conversations):
        most = WARM_BLOCKS // (CONVERSATIONS * len(blocks))
        holders = range(number % 4, endpoints, 8)  # each on an eighth of the pool
        for slot in (0, *holders[:most]):
            fleet.index.insert(slot, blocks)
    match = fleet.index.match(conversations[0])
    prompt = prompt_of(tokens, match, match.depths(fleet.slots.capacity)[slots])
    return fleet, View(slots, np.full(endpoints, 100.0), fleet, 0.0, 0, 1_000.0, prompt)


def _names(endpoints: int) -> tuple[str, ...]:
    return tuple(f"10.0.{n // 250}.{1 + n % 250}:8000" for n in range(endpoints))


def _settings(endpoints: int) -> PickerSettings:
    pods = tuple(EndpointSettings(address=address) for address in _names(endpoints))
    return PickerSettings(version="bench", pools=(PoolSettings(name="p", cluster="pool/p", endpoints=pods),))


def _body(tokens: int, rng: random.Random) -> bytes:
    half = tokens * BYTES_PER_TOKEN // 2
    turns = [" ".join(rng.choices(_WORDS, k=half // 6))[:half] for _ in range(2)]
    messages = [{"role": role, "content": turn} for role, turn in zip(("system", "user"), turns, strict=True)]
    return json.dumps({"model": "m", "messages": messages, "stream": True, "max_tokens": 100}).encode()


def _message(facts: RequestFacts) -> bytes:
    """As Envoy sends it: the body, and what was asked for beside it."""
    request: Any = load()["envoy.service.ext_proc.v3.ProcessingRequest"]()
    request.request_body.body = facts.body
    request.request_body.end_of_stream = True
    fields = request.attributes[ATTRIBUTES_KEY].fields
    for name, value in {"xds.cluster_name": facts.cluster, "xds.route_name": "m", "request.path": facts.path}.items():
        fields[name].string_value = value
    return bytes(request.SerializeToString())


def _parsed(facts: RequestFacts) -> ParsedRequest:
    parsed = parse_request(facts)
    if not isinstance(parsed, ParsedRequest):
        raise TypeError(f"not understood: {parsed}")
    return parsed


def _blocks(facts: RequestFacts) -> tuple[int, ...]:
    parsed = _parsed(facts)
    return block_hashes(parsed.prompt, parsed.model)


def _microseconds(work: Callable[[int], object], rounds: int) -> float:
    means = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        for i in range(rounds):
            work(i)
        means.append((time.process_time() - start) / rounds * 1e6)
    return min(means)


def _as_dict(row: Row) -> dict[str, float]:
    return {name: round(getattr(row, name), 1) for name in Row.__slots__}


if __name__ == "__main__":
    main()
