"""Tokens before picks: at once, in a moment, or by the text."""

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.tokens import prompts as module
from ext_proc.tokens.asking import AskError, EngineTokens
from ext_proc.tokens.encoder import Encoder, Plan, Work
from ext_proc.tokens.files import ModelTokens, model_tokens
from ext_proc.tokens.prompts import MAX_FAILURES, ON_THE_SPOT_CHARS, PAUSE_S, TOLD_S, Prompts
from tests.kit.tiny_tokenizer import WORDS, bpe, config, content

TOKENIZER = bpe()
LONG = WORDS * (ON_THE_SPOT_CHARS // len(WORDS) + 2)


class Clock:
    """Seconds by hand. Mutable: `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def settings(by: str = "file") -> PickerSettings:
    """One pool, one model that is tokenised, one that is not."""
    pool = PoolSettings(name="p", cluster="c", endpoints=(EndpointSettings(address="10.0.0.1:1"),), models=("m",))
    models = {"m": "m", "alias": "m", "other": "other"}
    return PickerSettings(version="1", pools=(pool,), models=models, tokenizers={"m": by})


def facts(body: Any, path: str = "/v1/completions", **more: Any) -> RequestFacts:
    """A request for the pool."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestFacts(**{"body": data, "path": path, "cluster": "c", **more})


def ids_of(found: object) -> list[int]:
    """What was counted."""
    assert isinstance(found, Counted)
    assert found.ids is not None, found.why
    return list(struct.unpack(f"<{len(found.ids) // 4}I", found.ids))


def model(template: str | None = None) -> ModelTokens:
    """A model's files."""
    made = model_tokens(content(TOKENIZER), config(), None if template is None else template.encode())
    made.encoder._trials_left = 0
    return made


@pytest.fixture
async def prompts() -> AsyncIterator[Prompts]:
    """With a model's files."""
    made = Prompts(Clock(), local_time=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    made.apply_settings(settings())
    made.set_models({"m": model()})
    try:
        yield made
    finally:
        await made.stop()


async def test_short_prompts_at_once(prompts: Prompts) -> None:
    """By the model's name or alias; ids of the client's own are taken as they are."""
    for name in ("m", "alias"):
        found = prompts.count(facts({"model": name, "prompt": "I think"}))
        assert ids_of(found) == TOKENIZER.encode("I think").ids
    assert ids_of(prompts.count(facts({"model": "m", "prompt": [5, 6]}))) == [5, 6]
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    text = "<|begin|><|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    expected = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert ids_of(prompts.count(facts(chat, "/v1/chat/completions?x=1"))) == expected
    assert prompts.counts.exact == 4


async def test_long_prompts_in_a_moment(prompts: Prompts) -> None:
    """By a thread the first time, at once the second."""
    request = facts({"model": "m", "prompt": LONG})
    found = prompts.count(request)
    assert isinstance(found, asyncio.Task)
    expected = TOKENIZER.encode(LONG).ids
    assert ids_of(await found) == expected
    assert ids_of(prompts.count(request)) == expected


async def test_a_long_conversation_is_rendered_by_a_thread(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comes of it."""
    chat = facts({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, "/v1/chat/completions")
    expected = prompts.count(chat)
    monkeypatch.setattr(module, "READ_AT_ONCE_BYTES", 0)
    found = prompts.count(chat)
    assert isinstance(found, asyncio.Task)
    assert await found == expected


@pytest.mark.parametrize(
    "request_",
    [
        facts({"model": "other", "prompt": "a"}),
        facts({"model": "unknown", "prompt": "a"}),
        facts({"model": 1, "prompt": "a"}),
        facts({"prompt": "a"}),
        facts([1]),
        facts(b"{"),
        facts(b"\xff"),
        facts({"model": "m", "prompt": "a"}, "/v1/models"),
        facts({"model": "m", "prompt": "a"}, method="GET"),
        facts({"model": "m", "prompt": "a"}, cluster="elsewhere"),
    ],
)
async def test_nobody_asks_for_tokens(prompts: Prompts, request_: RequestFacts) -> None:
    """Other models, other requests, and what the picker refuses anyway."""
    assert prompts.count(request_) is NOT_COUNTED
    assert prompts.counts.by_text == 0


async def test_by_the_text_with_a_reason(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, token ids that are none, templates that refuse, bodies that are too long, no files."""
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    prompts.set_models({"m": model("{{ raise_exception('never') }}")})
    reasons = {
        "images": facts({"model": "m", "messages": image}, "/v1/chat/completions"),
        "never": facts({"model": "m", "messages": [{"role": "a"}]}, "/v1/chat/completions"),
        "token id": facts({"model": "m", "prompt": [2**40]}),
        "no prompt": facts({"model": "m"}),
        "responses": facts({"model": "m", "input": "x", "tools": [{}]}, "/v1/responses"),
    }
    for reason, request in reasons.items():
        found = prompts.count(request)
        assert isinstance(found, Counted)
        assert found.ids is None
        assert reason in found.why
    assert prompts.counts.by_text == len(reasons)
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 9)
    assert prompts.count(facts({"model": "m", "prompt": "x"})) == Counted(None, "its body is too long")
    monkeypatch.undo()
    prompts.set_models({})
    assert prompts.count(facts({"model": "m", "prompt": "a"})) == Counted(None, "its tokenizer's files cannot be used")


async def test_late_is_by_text_and_not_lost(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pick does not wait; the tokens are there for the next turn."""
    gate = threading.Event()
    prompts.apply_settings(replace(settings(), tokens_within_s=0.02))
    real = Encoder.work

    def slowly(self: Encoder, plan: Plan) -> Work:
        gate.wait(5)
        return real(self, plan)

    monkeypatch.setattr(Encoder, "work", slowly)
    request = facts({"model": "m", "prompt": LONG})
    found = prompts.count(request)
    assert isinstance(found, asyncio.Task)
    late = await found
    assert late == Counted(None, "its tokens took longer than 20 ms")
    assert (prompts.counts.late, prompts.counts.by_text, prompts.counts.exact) == (1, 1, 0)
    gate.set()
    async with asyncio.timeout(5):
        while not isinstance(again := prompts.count(request), Counted):
            await again
    assert ids_of(again) == TOKENIZER.encode(LONG).ids


async def test_not_too_many_at_once(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go by their text."""
    monkeypatch.setattr(module, "MAX_BUSY", 1)
    first = prompts.count(facts({"model": "m", "prompt": LONG}))
    second = prompts.count(facts({"model": "m", "prompt": LONG + "!"}))
    assert isinstance(first, asyncio.Task)
    assert second == Counted(None, "too many prompts are being tokenised")
    await first


async def test_a_body_is_read_only_where_its_model_has_a_tokenizer(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others cost a look at the model's name."""
    monkeypatch.setattr("msgspec.json.decode", lambda body: pytest.fail("it was read"))
    assert prompts.count(facts({"model": "other", "prompt": LONG})) is NOT_COUNTED
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 9)
    assert prompts.count(facts({"model": "other", "prompt": "x"})) is NOT_COUNTED
    assert prompts.count(facts({"model": "m", "prompt": "x"})) == Counted(None, "its body is too long")


async def test_not_too_much_at_once(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large bodies are as much work as many small ones, and there is room again when they are done."""
    first, second = (facts({"model": "m", "prompt": f"{LONG}{end}"}) for end in "ab")
    monkeypatch.setattr(module, "MAX_BUSY_BYTES", len(first.body) + len(second.body) - 1)
    begun = prompts.count(first)
    assert isinstance(begun, asyncio.Task)
    assert prompts.count(second) == Counted(None, "too many prompts are being tokenised")
    await begun
    again = prompts.count(second)
    ids_of(await again if isinstance(again, asyncio.Task) else again)


async def test_a_throttled_container_is_no_slow_template() -> None:
    """What counts is the work of a template, not how long it took."""
    clock = Clock()

    def later() -> float:
        clock.now += 9.0
        return clock.now

    made = Prompts(later, cpu_time=lambda: 0.0)
    made.apply_settings(settings())
    made.set_models({"m": model("{% for i in range(99) %}x{% endfor %}")})
    chat = facts({"model": "m", "messages": [{"role": "user", "content": "x"}]}, "/v1/chat/completions")
    assert ids_of(made.count(chat)) == TOKENIZER.encode("x" * 99, add_special_tokens=False).ids
    await made.stop()


async def test_a_template_that_holds_up_picks(prompts: Prompts) -> None:
    """After a few times it is not asked any more, until there is another one."""
    changes: list[bool] = []
    prompts._changed = lambda: changes.append(prompts.is_ready("m"))
    prompts.set_models({"m": model("{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %}")})
    chat = facts({"model": "m", "messages": [{"role": "user", "content": "x"}]}, "/v1/chat/completions")
    for _ in range(MAX_FAILURES):
        assert "steps" in prompts.count(chat).why  # type: ignore[union-attr]
    assert "any that is meant well" in prompts.count(chat).why  # type: ignore[union-attr]
    assert "any that is meant well" in prompts.why_not("m")
    prompts.set_models({"m": model()})
    assert changes == [True, False, True]
    ids_of(prompts.count(chat))


# --- engines ---


class Asked:
    """In the place of HTTP. Mutable: the answer, the questions."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, dict[str, Any]]] = []
        self.answer: Callable[[], bytes] = lambda: struct.pack("<2I", 8, 9)

    async def ask(self, pool: str, address: str, engine: str, question: dict[str, Any]) -> bytes:
        """As `EngineTokens.ask`."""
        self.questions.append((address, question))
        await asyncio.sleep(0)
        return self.answer()

    async def close(self) -> None:
        """Nothing to end."""


def refuses(*, lasting: bool) -> Callable[[], bytes]:
    """An engine that does not tell."""

    def answer() -> bytes:
        raise AskError("no", is_lasting=lasting)

    return answer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The engines of all `Prompts`."""
    made = Asked()
    monkeypatch.setattr(EngineTokens, "__new__", lambda cls, *given: made)
    return made


async def counted(prompts: Prompts, text: str) -> Counted:
    """A prompt's tokens, however long it takes."""
    found = prompts.count(facts({"model": "alias", "prompt": text}))
    return found if isinstance(found, Counted) else await found


async def test_other_apis_are_chats(prompts: Prompts, asked: Asked) -> None:
    """Where they say the same: from files, and from an engine."""
    hi = [{"role": "user", "content": "hi"}]
    chat = prompts.count(facts({"model": "m", "messages": hi}, "/v1/chat/completions"))
    for path, body in (("/v1/responses", {"input": "hi"}), ("/v1/messages", {"messages": hi, "max_tokens": 5})):
        assert ids_of(prompts.count(facts({"model": "m", **body}, path))) == ids_of(chat)
    by_engine = Prompts(Clock(), someone=lambda cluster: "e")
    by_engine.apply_settings(settings("engine"))
    found = by_engine.count(facts({"model": "m", "input": "hi"}, "/v1/responses"))
    assert isinstance(found, asyncio.Task)
    assert ids_of(await found) == [8, 9]
    assert asked.questions == [("e", {"model": "m", "messages": hi})]
    await by_engine.stop()


async def test_engines_are_asked_once(asked: Asked) -> None:
    """The same prompt is known afterwards; the model is ready from the first answer on."""
    changes: list[bool] = []
    prompts = Prompts(Clock(), someone=lambda cluster: f"of {cluster}", changed=lambda: changes.append(True))
    prompts.apply_settings(settings("engine"))
    assert not prompts.is_ready("m")
    assert ids_of(await counted(prompts, "a")) == ids_of(await counted(prompts, "a")) == [8, 9]
    question = {"model": "m", "prompt": "a", "add_special_tokens": True}
    assert asked.questions == [("of c", question)]
    assert prompts.is_ready("m")
    assert changes == [True]
    await prompts.stop()


async def test_an_engine_may_change_its_mind(asked: Asked) -> None:
    """What it told is asked again after some minutes, and takes no more room then."""
    clock = Clock()
    prompts = Prompts(clock, someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    await counted(prompts, "a")
    held = prompts._told_bytes
    asked.answer = lambda: struct.pack("<I", 7)
    clock.now += TOLD_S
    assert ids_of(await counted(prompts, "a")) == ids_of(await counted(prompts, "a")) == [7]
    assert len(asked.questions) == 2
    assert prompts._told_bytes == held - 4
    await prompts.stop()


async def test_engines_that_do_not_tell(asked: Asked) -> None:
    """After some failures there is a pause, and they count as telling; what will not change pauses at once, and ends
    that."""
    clock = Clock()
    prompts = Prompts(clock, someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    await counted(prompts, "ready")
    asked.answer = refuses(lasting=False)
    for number in range(MAX_FAILURES):
        assert prompts.is_ready("m")
        assert await counted(prompts, f"{number}") == Counted(None, "no")
    assert prompts.is_ready("m")
    assert "no" in (await counted(prompts, "paused")).why
    assert len(asked.questions) == 1 + MAX_FAILURES
    clock.now += PAUSE_S
    asked.answer = refuses(lasting=True)
    await counted(prompts, "x")
    await counted(prompts, "y")
    assert len(asked.questions) == 2 + MAX_FAILURES
    assert not prompts.is_ready("m")
    await prompts.stop()


async def test_requests_that_engines_refuse(asked: Asked) -> None:
    """A client's nonsense does not keep others from being counted."""
    prompts = Prompts(Clock(), someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    await counted(prompts, "ready")

    def refuses() -> bytes:
        raise AskError("HTTP 400", is_of_request=True)

    asked.answer = refuses
    for number in range(2 * MAX_FAILURES):
        assert await counted(prompts, f"{number}") == Counted(None, "HTTP 400")
    assert prompts.is_ready("m")
    await prompts.stop()


async def test_a_template_is_not_blamed_for_a_client(prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation of very many messages exceeds the budget and goes by its text; others go on as before."""
    monkeypatch.setattr(module, "WITHIN_S", 9.0)
    messages = [{"role": "user", "content": "x"}] * 3_000
    prompts.set_models({"m": model("{% for m in messages %}{% for i in range(99) %}{% endfor %}{% endfor %}")})
    for _ in range(MAX_FAILURES):
        found = prompts.count(facts({"model": "m", "messages": messages}, "/v1/chat/completions"))
        assert "the chat template takes" in (found if isinstance(found, Counted) else await found).why
    assert prompts.is_ready("m")
    ids_of(prompts.count(facts({"model": "m", "messages": messages[:1]}, "/v1/chat/completions")))


async def test_who_refuses_everything_is_left_alone(asked: Asked) -> None:
    """An engine that never told may be one that takes no such questions: not each request asks it again."""
    prompts = Prompts(Clock(), someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))

    def refuses() -> bytes:
        raise AskError("`/tokenize`: HTTP 400", is_of_request=True)

    asked.answer = refuses
    for number in range(2 * MAX_FAILURES):
        await counted(prompts, f"{number}")
    assert len(asked.questions) == MAX_FAILURES
    assert "HTTP 400" in prompts.why_not("m")
    await prompts.stop()


async def test_a_single_engine_that_does_not_tell(asked: Asked) -> None:
    """One of another version among many takes nothing from the others."""
    clock = Clock()
    prompts = Prompts(clock, someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    for number in range(2 * MAX_FAILURES):
        asked.answer = lambda: struct.pack("<I", 7)
        ids_of(await counted(prompts, f"good {number}"))
        asked.answer = refuses(lasting=True)
        assert (await counted(prompts, f"bad {number}")).ids is None
        assert prompts.is_ready("m")
        clock.now += PAUSE_S
    await prompts.stop()


async def test_two_pools_with_engines_of_the_same_name(asked: Asked) -> None:
    """Engines that call themselves alike may have other tokenizers."""
    two = tuple(replace(settings().pools[0], name=name, cluster=name) for name in "cd")
    prompts = Prompts(Clock(), someone=lambda cluster: f"of {cluster}")
    prompts.apply_settings(replace(settings("engine"), pools=two))
    await counted(prompts, "a")
    asked.answer = lambda: struct.pack("<I", 7)
    found = prompts.count(facts({"model": "m", "prompt": "a"}, cluster="d"))
    assert isinstance(found, asyncio.Task)
    assert ids_of(await found) == [7]
    assert ids_of(await counted(prompts, "a")) == [8, 9]
    await prompts.stop()


async def test_engines_are_not_asked_for_much(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would not tell in time."""
    prompts = Prompts(Clock(), someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    monkeypatch.setattr(module, "MAX_ASKED_BYTES", 9)
    assert await counted(prompts, "a") == Counted(None, "its body is too long")
    assert not asked.questions
    await prompts.stop()


async def test_clients_do_not_switch_tokens_off(prompts: Prompts) -> None:
    """A template that looks back from each message at all before it exceeds its budget for many tiny ones: that is
    the client's doing."""
    looks_back = "{% for m in messages %}{% for i in range(loop.index0) %}{% endfor %}{{ m.content }}{% endfor %}"
    prompts.set_models({"m": model(looks_back)})
    body = json.dumps({"model": "m", "messages": [{"role": "u", "content": "x"}] * 450}, separators=(",", ":")).encode()
    assert len(body) < 16_000
    for _ in range(MAX_FAILURES):
        found = prompts.count(facts(body, "/v1/chat/completions"))
        assert (found if isinstance(found, Counted) else await found).ids is None
    assert prompts.is_ready("m")
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    ids_of(prompts.count(facts(chat, "/v1/chat/completions")))


async def test_nobody_to_ask(asked: Asked) -> None:
    """An empty pool."""
    prompts = Prompts(Clock())
    prompts.apply_settings(settings("engine"))
    assert (await counted(prompts, "a")).ids is None
    assert not asked.questions
    assert prompts.why_not("m").endswith("not asked yet")
    assert prompts.why_not("other") == "it has no `tokenizer`"
    await prompts.stop()


async def test_what_engines_told_is_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes."""
    monkeypatch.setattr(module, "MEMORY_BYTES", 1_000)
    prompts = Prompts(Clock(), someone=lambda cluster: "a:1")
    prompts.apply_settings(settings("engine"))
    for number in range(9):
        await counted(prompts, f"{number}")
    await counted(prompts, "8")
    assert len(asked.questions) == 9
    await counted(prompts, "0")
    assert len(asked.questions) == 10
    await prompts.stop()
