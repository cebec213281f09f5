"""The whole picker where engines are not as they were taken to be: its picks, its reasons, and what it says."""

import json
import random
from dataclasses import replace
from typing import Any

from ext_proc.core.admission import Visitor
from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.decision import Named
from ext_proc.core.events import BlocksStored, CacheCleared, RequestEnded
from ext_proc.core.judge import LONG_WINDOW, WINDOW, Verdict
from ext_proc.core.picker import Picker
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import AdmissionSettings, EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.token_blocks import token_bytes

PODS = tuple(EndpointSettings(address=f"10.0.0.{n}:8000") for n in (1, 2))
SYSTEM = "You are a helpful assistant. " * 200


class Calls:
    """Chats behind one system prompt, one at a time. Mutable: the clock, the numbers."""

    def __init__(self, **pool: Any) -> None:
        settings = PoolSettings(name="p", cluster="c", endpoints=PODS, **pool)
        self.picker = Picker(PickerSettings(version="v", pools=(settings,)))
        self.rng = random.Random(1)
        self.now = 0.0
        self.is_tokenised = False
        """Whether somebody knows the tokens: a byte each."""

    def facts(self) -> RequestFacts:
        """The next chat."""
        self.now += 1.0
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{self.now}?"}]
        body = json.dumps({"model": "m", "messages": messages}).encode()
        counted = Counted(token_bytes(list(body))) if self.is_tokenised else NOT_COUNTED
        return RequestFacts(body=body, path="/v1/chat/completions", cluster="c", counted=counted)

    def call(self, found: float | None, prompt_tokens: int | None = None) -> dict[str, Any]:
        """One chat, of which the engine finds this share in its cache; its decision."""
        named = self.picker.decide(self.facts(), self.now, self.rng)
        assert isinstance(named, Named)
        record = self.picker.decisions.get(named.decision_id)
        assert record is not None
        prompt = prompt_tokens or record.request.tokens
        self.picker.apply(
            RequestEnded(
                decision_id=named.decision_id,
                at=self.now,
                status=200,
                served=named.endpoints[0],
                prompt_tokens=prompt,
                cached_tokens=None if found is None else int(found * prompt),
            )
        )
        return record.as_dict()

    def status(self) -> dict[str, Any]:
        """What is known of the pool's predictions."""
        found: dict[str, Any] = self.picker.survey.pools(self.now)["p"]["prediction"]
        return found


def test_caching_that_is_off() -> None:
    """Within two windows nothing is predicted any more, and the reason says why; news are told once."""
    calls = Calls()
    for _ in range(2 * WINDOW):
        decision = calls.call(0.0)
    assert calls.status()["verdict"] == "over"
    assert decision["predicted"]["cached_tokens"] == 0
    assert decision["reason"].endswith("; what is believed cached counts 0%: engines do not find it")
    assert [change.verdict for change in calls.picker.take_changes() if not change.endpoint] == [Verdict.OVER]
    assert calls.picker.take_changes() == []
    assert [(pool, verdict) for pool, verdict, _, _ in calls.picker.survey.doubted()] == [("p", "over")]
    for _ in range(3 * WINDOW):
        decision = calls.call(0.95)
    assert calls.status()["verdict"] == "fine"
    assert calls.picker.survey.doubted() == []
    assert decision["predicted"]["cached_tokens"] > 1_000


def test_what_is_left_alone() -> None:
    """Right predictions, and wrong ones of a pool that does not want them checked."""
    for pool, found in (({}, 0.98), ({"distrusts": False}, 0.0)):
        calls = Calls(**pool)
        for _ in range(3 * WINDOW):
            decision = calls.call(found)
        assert decision["predicted"]["cached_tokens"] > 1_000
        assert calls.picker.survey.doubted() == []
        assert "believed" not in decision["reason"]


def test_tokens_are_the_models_own() -> None:
    """An engine that counts two bytes a token: prompts, what is cached of them, and what admission weighs."""
    calls = Calls(admission=AdmissionSettings(max_in_flight=100))
    request = parse_request(calls.facts())
    assert isinstance(request, ParsedRequest)
    size = len(request.prompt)
    first = calls.call(0.9, prompt_tokens=size // 2)
    assert abs(first["request"]["tokens"] - size / 4) < 10
    for _ in range(40):
        last = calls.call(0.9, prompt_tokens=size // 2)
    assert abs(last["request"]["tokens"] - size / 2) < 0.03 * size
    assert last["predicted"]["cached_tokens"] > 0.9 * last["request"]["tokens"]
    weighed: list[int] = []
    arrive = calls.picker._reception._room.arrive

    def weigh(cluster: str, visitor: Visitor, *others: Any, **words: Any) -> Any:
        weighed.append(visitor.tokens)
        return arrive(cluster, visitor, *others, **words)

    calls.picker._reception._room.arrive = weigh  # type: ignore[method-assign]
    calls.picker.ask(calls.facts(), calls.now, calls.rng)
    assert abs(weighed[0] - size / 2) < 0.03 * size
    assert abs(calls.picker.survey.token_sizes()["m"]["bytes_per_token"] - 2) < 0.2


def test_events_that_match_nothing() -> None:
    """Endpoints whose events never match are believed to hold what they were sent, until their caches are empty."""
    calls = Calls()
    calls.is_tokenised = True
    for n, pod in enumerate(PODS):
        calls.picker.apply(BlocksStored(address=pod.address, at=0.0, blocks=(1 + n,)))
    for _ in range(LONG_WINDOW + 3):
        decision = calls.call(0.9)
    assert calls.status()["events_ignored"] == [pod.address for pod in PODS]
    assert decision["predicted"]["cached_tokens"] > 1_000
    before = calls.picker.survey.index()["held_blocks"]
    calls.picker.apply(BlocksStored(address=PODS[0].address, at=0.0, blocks=(5, 6, 7)))
    assert calls.picker.survey.index()["held_blocks"] == before
    calls.picker.apply(CacheCleared(address=PODS[0].address, at=0.0))
    calls.picker.apply(BlocksStored(address=PODS[0].address, at=0.0, blocks=(5, 6, 7)))
    assert calls.status()["events_ignored"] == [PODS[1].address]
    assert calls.picker.survey.index()["held_blocks"] < before + 3


def test_text_beside_events() -> None:
    """Requests that go by their text find their way back to endpoints that tell of blocks of tokens."""
    calls = Calls()
    for n, pod in enumerate(PODS):
        calls.picker.apply(BlocksStored(address=pod.address, at=0.0, blocks=(1 + n,)))
    for _ in range(LONG_WINDOW + 3):
        decision = calls.call(0.98)
    assert decision["predicted"]["cached_tokens"] > 1_000
    assert calls.status()["events_ignored"] == []


def test_what_was_learned_outlives_settings() -> None:
    """Another policy, and a second pool that begins: speeds, lengths of prompts, what is usual and the verdict stay."""
    calls = Calls()
    for _ in range(2 * WINDOW):
        calls.call(found=0.0, prompt_tokens=2_000)

    def learned() -> tuple[Any, ...]:
        pool = calls.picker.survey.pools(calls.now)["p"]
        factors = [endpoint["speed_factor"] for endpoint in pool["endpoints"]]
        return (
            calls.picker.survey.speed(),
            calls.picker.survey.token_sizes(),
            factors,
            pool["usual"],
            pool["prediction"],
        )

    before = learned()
    assert before[1]["m"]["reports"] == 2 * WINDOW
    assert (before[3]["gap_ms"], before[4]["verdict"]) == (1_000, "over")
    pool = calls.picker.settings.pools[0]
    second = replace(pool, name="q", cluster="d")
    calls.picker.apply_settings(replace(calls.picker.settings, version="w", pools=(second, pool)))
    assert learned() == before
