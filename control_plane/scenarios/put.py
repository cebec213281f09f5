"""Puts a scenario to the compiled routes and to the real picker."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from control_plane.compile.evaluate import Request
from control_plane.compile.snapshot import Compiled
from control_plane.fleet.model import Fleet, Health
from control_plane.policy.loader import Document
from control_plane.scenarios.decide import Decided, decide, listener_of
from control_plane.scenarios.model import AskedRequest, EndpointState, Scenario
from ext_proc.core.blocks import BLOCK_TOKENS, BYTES_PER_TOKEN, block_hashes
from ext_proc.core.decision import Answer, Named, Unpicked, Waiting
from ext_proc.core.events import AttemptEnded, FirstToken, Picked, RequestEnded, Scraped
from ext_proc.core.picker import Picker
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import PickerSettings

NOW_S = 1_000.0
"""When the request comes, on a clock that nobody else reads."""

EARLIER_S = NOW_S - 0.1
"""When the state of the fleet came about: fresh in every sense of the picker."""

SLACK_S = 3_600.0
"""Requests that are in flight do not expire meanwhile."""

_EJECTED = "ejected"

_BOUNDS = {"/v1/responses": "max_output_tokens"}
"""Path → the key that bounds the answer, where it is not `max_tokens`."""

_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
"""What a request with tools offers."""


class ScenarioError(Exception):
    """A scenario that cannot be put at all: it names what the policy does not have. Carries the path of the key."""

    def __init__(self, path: str, message: str) -> None:
        """`path` is below the scenario, such as `request.listener`."""
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a scenario; `answer` is None where the picker is not asked."""

    decided: Decided
    answer: Answer | None
    why: str
    """The picker's own reason."""


def fleet_with(fleet: Fleet, scenario: Scenario) -> Fleet:
    """`fleet` in the health that the scenario gives; raises ScenarioError for an endpoint that nobody has."""
    known = {endpoint.address for endpoints in fleet.pools.values() for endpoint in endpoints}
    for address in scenario.fleet:
        if address not in known:
            raise ScenarioError(f"fleet.{address}", f"no pool has the endpoint {address}")
    told = {address: Health(state.health) for address, state in scenario.fleet.items() if state.health != _EJECTED}
    return Fleet(
        pools={
            name: tuple(replace(each, health=told.get(each.address, each.health)) for each in endpoints)
            for name, endpoints in fleet.pools.items()
        }
    )


def outcome(
    scenario: Scenario, document: Document, compiled: Compiled, settings: PickerSettings, rng: random.Random
) -> Outcome:
    """What the routes and the picker make of a scenario; raises ScenarioError and `UnknownMatcherError`."""
    asked = scenario.request
    listener = listener_of(document.policy, asked.listener)
    if listener is None or listener.name not in compiled.listeners:
        raise ScenarioError("request.listener", f"there is no listener {asked.listener or listener} for this Envoy")
    request = request_of(asked)
    decided = decide(document, compiled, settings, request, listener)
    if not decided.is_picked:
        return Outcome(decided=decided, answer=None, why="")
    pool = _side(decided, asked)
    picker = Picker(settings)
    facts = RequestFacts(
        body=request.body,
        path=decided.evaluation.path,
        method=request.method,
        route=decided.route,
        cluster=next((each.cluster for each in settings.pools if each.name == pool), ""),
        session=request.headers.get(listener.session_header, ""),
        content_type=request.headers.get("content-type", "application/json"),
        headers=request.headers,
    )
    _prepare(picker, scenario, facts, decided.engine_model)
    answer = picker.ask(facts, NOW_S, rng)
    if isinstance(answer, Waiting):  # for what the scenario says nothing of
        answer = picker.decide(facts, NOW_S, rng)
    record = picker.decisions.get(answer.decision_id) if isinstance(answer, Named) else None
    why = record.reason if record else answer.reason if isinstance(answer, Unpicked) else ""
    return Outcome(decided=decided, answer=answer, why=why)


def request_of(asked: AskedRequest) -> Request:
    """The request as Envoy gets it; without `body` one is made up in the shape of its path."""
    return Request(
        path=asked.path,
        method=asked.method.upper(),
        authority=asked.host,
        headers=dict(asked.headers),
        body=asked.body.encode() if asked.body else made_up(asked),
    )


def made_up(asked: AskedRequest) -> bytes:
    """A body in the shape of the path; none without a model."""
    if not asked.model:
        return b""
    text = ("lorem ipsum " * (asked.prompt_tokens * BYTES_PER_TOKEN // 12 + 1))[: asked.prompt_tokens * BYTES_PER_TOKEN]
    path = asked.path.partition("?")[0]
    prompt: dict[str, object] = {"messages": [{"role": "user", "content": text}]}
    if path == "/v1/completions":
        prompt = {"prompt": text}
    elif path in ("/v1/embeddings", "/v1/responses"):
        prompt = {"input": text}
    if asked.max_tokens is not None:
        prompt[_BOUNDS.get(path, "max_tokens")] = asked.max_tokens
    if asked.tools:
        prompt["tools"] = [_TOOL]
    return json.dumps({"model": asked.model, **prompt, **({"stream": True} if asked.stream else {})}).encode()


def _side(decided: Decided, asked: AskedRequest) -> str:
    """The pool whose side of a split the draw falls on."""
    pools = [name for name, weight in decided.pools if weight]
    if asked.to_pool and asked.to_pool not in pools:
        message = f"the route {decided.route} does not lead to {asked.to_pool}, but to {', '.join(pools)}"
        raise ScenarioError("request.toPool", message)
    return asked.to_pool or pools[0]


def _prepare(picker: Picker, scenario: Scenario, facts: RequestFacts, model: str) -> None:
    """Brings the picker into the state that the scenario gives, by the events that would have done it."""
    parsed = parse_request(facts)
    blocks = block_hashes(parsed.prompt, model, parsed.salt) if isinstance(parsed, ParsedRequest) else ()
    for number, (address, state) in enumerate(sorted(scenario.fleet.items())):
        for event in _events(f"given-{number}", address, state, blocks):
            picker.apply(event)


def _events(
    name: str, address: str, state: EndpointState, blocks: tuple[int, ...]
) -> Iterator[Picked | FirstToken | RequestEnded | Scraped | AttemptEnded]:
    held = blocks[: -(-state.cached_tokens // BLOCK_TOKENS)]
    if held:
        yield _picked(f"{name}-cached", address, 0, held)
        yield RequestEnded(decision_id=f"{name}-cached", at=EARLIER_S, status=200, served=address)
    if state.queued_tokens:
        yield _picked(f"{name}-queued", address, state.queued_tokens)
    for index in range(state.in_flight - bool(state.queued_tokens)):
        yield _picked(f"{name}-{index}", address, 0)
        yield FirstToken(decision_id=f"{name}-{index}", address=address, at=EARLIER_S, ttft_ms=1.0)
    if state.running or state.waiting:
        yield Scraped(address=address, at=EARLIER_S, running=state.running, waiting=state.waiting)
    if state.health == _EJECTED:
        yield AttemptEnded(
            decision_id=f"{name}-failed", address=address, at=EARLIER_S, status=503, flags=("UF",), failure="refused"
        )


def _picked(decision: str, address: str, tokens: int, blocks: tuple[int, ...] = ()) -> Picked:
    return Picked(
        decision_id=decision,
        at=EARLIER_S,
        address=address,
        uncached_tokens=tokens,
        prompt_tokens=tokens,
        max_age_s=SLACK_S,
        blocks=blocks,
    )
