"""What one pick costs: `python -m bench.pick` prints a table and, as its last line, the same as JSON.

    python -m bench.pick              # 4, 100 and 1,000 endpoints, prompts of 1k and 32k tokens
    python -m bench.pick --rounds 50  # shorter

Each figure is the least of several repetitions of a mean, in µs. `pick` is `Picker.decide`, and the event of the
request's end, for prompts that come again; the others are its parts, measured one by one, so that they need not add up.
`insert` is its worst case: no block is known, and as many have to go. No sockets, no protobuf: `bench.overhead`
measures the way through Envoy.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from ext_proc.core.blocks import BYTES_PER_TOKEN, block_hashes, tokens_of
from ext_proc.core.events import RequestEnded
from ext_proc.core.fleet import Fleet
from ext_proc.core.index import PrefixIndex
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.kv_aware import prompt_of, rank
from ext_proc.core.strategies.view import View

ENDPOINTS = (4, 100, 1_000)
PROMPT_TOKENS = (1_000, 32_000)
REPETITIONS = 7
DEFAULT_ROUNDS = 300

# Distinct conversations that go round, so that the index holds more than the one prompt that is asked for.
CONVERSATIONS = 20

_WORDS = ("cache", "prefix", "token", '"quoted"', "line\nbreak", "überall", "attention", "pod")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, in µs."""

    endpoints: int
    prompt_tokens: int
    parse: float
    hash: float
    match: float
    score: float
    insert: float
    pick: float


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description="What one pick costs, in µs.")
    arguments.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS, help="picks per repetition")
    rounds = arguments.parse_args().rounds
    rows = [measured(endpoints, tokens, rounds) for tokens in PROMPT_TOKENS for endpoints in ENDPOINTS]
    table = Table("endpoints", "prompt tokens", "parse", "hash", "match", "score", "insert", "pick", title="µs a pick")
    for row in rows:
        figures = (row.parse, row.hash, row.match, row.score, row.insert, row.pick)
        table.add_row(f"{row.endpoints:,}", f"{row.prompt_tokens:,}", *(f"{figure:,.1f}" for figure in figures))
    Console().print(table)
    print(json.dumps({"benchmark": "pick", "unit": "us", "rows": [_as_dict(row) for row in rows]}))


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
    return Row(
        endpoints=endpoints,
        prompt_tokens=tokens,
        parse=_microseconds(lambda i: parse_request(facts[i % CONVERSATIONS]), rounds),
        hash=_microseconds(lambda i: block_hashes(text, parsed.model), rounds),
        match=_microseconds(lambda i: fleet.index.match(blocks).depths(fleet.slots.capacity), rounds),
        score=_microseconds(lambda i: rank(view, rng), rounds),
        insert=_insert_cost(len(blocks), rounds, rng),
        pick=_pick_cost(endpoints, facts, rounds, rng),
    )


def _insert_cost(length: int, rounds: int, rng: random.Random) -> float:
    prompts = [tuple(rng.getrandbits(64) for _ in range(length)) for _ in range(CONVERSATIONS)]
    index = PrefixIndex(max_per_slot=length * CONVERSATIONS // 2)  # too small to meet any of them again
    return _microseconds(lambda i: index.insert(0, prompts[i % CONVERSATIONS]), rounds)


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
    addresses = [each.address for each in _settings(endpoints).pools[0].endpoints]
    fleet.want(set(addresses))
    slots = np.array([fleet.slots.acquire(address) for address in addresses])
    for number, blocks in enumerate(conversations):
        for slot in range(number % 4, endpoints, 8):  # each on an eighth of the pool
            fleet.index.insert(slot, blocks)
    match = fleet.index.match(conversations[0])
    prompt = prompt_of(tokens, match, match.depths(fleet.slots.capacity)[slots])
    return fleet, View(slots, np.full(endpoints, 100.0), fleet, 0.0, 0, 1_000.0, prompt)


def _settings(endpoints: int) -> PickerSettings:
    pods = tuple(EndpointSettings(address=f"10.0.{n // 250}.{1 + n % 250}:8000") for n in range(endpoints))
    return PickerSettings(version="bench", pools=(PoolSettings(name="p", cluster="pool/p", endpoints=pods),))


def _body(tokens: int, rng: random.Random) -> bytes:
    half = tokens * BYTES_PER_TOKEN // 2
    turns = [" ".join(rng.choices(_WORDS, k=half // 6))[:half] for _ in range(2)]
    messages = [{"role": role, "content": turn} for role, turn in zip(("system", "user"), turns, strict=True)]
    return json.dumps({"model": "m", "messages": messages, "stream": True, "max_tokens": 100}).encode()


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
        start = time.perf_counter()
        for i in range(rounds):
            work(i)
        means.append((time.perf_counter() - start) / rounds * 1e6)
    return min(means)


def _as_dict(row: Row) -> dict[str, float]:
    return {name: round(getattr(row, name), 1) for name in Row.__slots__}


if __name__ == "__main__":
    main()
