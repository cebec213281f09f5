"""Finds the token ids of requests before they are picked for, without holding up anybody for long.

    prompts = Prompts(clock, someone=picker.someone, pod_tls=..., pod_token=..., changed=...)
    prompts.apply_settings(settings)
    prompts.set_models({"llama": model_tokens(...)})
    found = prompts.count(facts)          # Counted at once, or a task that will give it

What is known already, and short prompts, are done on the spot; longer ones by a thread, and what an engine is to tell
is asked of one of the pool's endpoints. After `WITHIN_S` a pick goes by the text, and what comes later is for the next
turn. Single writer: the event loop.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import xxhash

from ext_proc.core.alias import Asked as AskedModel
from ext_proc.core.alias import asked_of
from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.request import KINDS, Kind, RequestFacts
from ext_proc.core.settings import PickerSettings, PoolSettings
from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.tokens.asked import Chat, Ids, Plain, Untold, asked_for
from ext_proc.tokens.asking import AskError, EngineTokens, question_of
from ext_proc.tokens.converted import as_chat
from ext_proc.tokens.errors import BudgetExceededError, TemplateError

if TYPE_CHECKING:
    from ext_proc.tokens.encoder import Plan
    from ext_proc.tokens.files import ModelTokens

WITHIN_S: Final = 0.1
"""How long a pick waits for its tokens: Envoy waits 0.25 s for the picker by default, and a tenth of a second is what
30,000 tokens take that were never seen."""

ON_THE_SPOT_CHARS: Final = 2_048
"""So much is tokenised at once, in about a millisecond; longer texts by a thread."""

MAX_BODY_BYTES: Final = 4 << 20
"""Larger bodies go by their text: a million tokens are what the longest contexts have."""

MAX_ASKED_BYTES: Final = 512 << 10
"""Engines are not asked for larger ones: they take several times `WITHIN_S` for them, and what they tell afterwards is
of use for the very same prompt only."""

MAX_BUSY: Final = 64
"""Prompts that are being tokenised or asked for; what comes beyond goes by its text."""

MAX_BUSY_BYTES: Final = 8 << 20
"""Of their bodies: about as much as the threads do in four seconds. More would make others late for longer, and
take several times its room on the way to tokens."""

THREADS: Final = 2
"""That tokenise. More would take CPU from the picks, and two keep up with a million tokens every two seconds."""

MEMORY_BYTES: Final = 32 << 20
"""Of what engines have told: the same prompt is not asked for twice."""

TOLD_S: Final = 600.0
"""After so long the engine is asked again: it may have another template by now."""

PAUSE_S: Final = 5.0
"""Until an engine's model that did not tell is asked for again."""

MAX_FAILURES: Final = 3
"""In a row, after which there is a pause."""

READ_AT_ONCE_BYTES: Final = 8 << 10
"""The text of a larger body is made by a thread, too. Some templates (Gemma 4's) look back from each message at all
before it: the 260 shortest ones that fit in here take them tens of milliseconds."""

BLAMELESS_BYTES: Final = 2 << 10
"""A template that exceeds its budget for a body of at most this size is to blame: it has no more than some sixty
messages. For a larger one it may be the client, who is not to switch off the tokens of all others."""

ENGINE_S: Final = 2.0
"""After so long an engine's answer is of no use to the next turn either."""

_ENTRY_BYTES: Final = 200
_OVERSPENT: Final = "its chat template does more than any that is meant well"

_T = TypeVar("_T")


class _Outline(msgspec.Struct):
    """What says whether a body is of any interest."""

    model: str | None = None


_OUTLINE: Final = msgspec.json.Decoder(_Outline)


@dataclass(slots=True)
class _Engine:
    """How a model whose engines are asked fares. Mutable; `Prompts` is the writer."""

    is_ready: bool = False
    failures: int = 0
    resumes_at: float = 0.0
    words: str = "not asked yet"


@dataclass(slots=True)
class TokenCounts:
    """What became of requests for models with a tokenizer. Mutable; all only grow."""

    exact: int = 0
    by_text: int = 0
    late: int = 0
    """Among `by_text`: those whose tokens did not come in time."""
    asked: int = 0
    """Questions to engines."""


def _nobody(cluster: str) -> str | None:
    return None


def _unheard() -> None:
    """Nobody wants to know."""


class Prompts:
    """Mutable: models, settings, what engines told, what is under way."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        someone: Callable[[str], str | None] = _nobody,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
        changed: Callable[[], None] = _unheard,
        local_time: Callable[[], datetime] = datetime.now,
        cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        """`someone` names an endpoint of a cluster to ask; `changed` is called when a model gets ready, or ceases to
        be; `local_time` is what templates print; `cpu_time` measures them, in seconds that the calling thread worked:
        no template is to blame for a container that is throttled."""
        self.counts = TokenCounts()
        self._clock = clock
        self._someone = someone
        self._pod_tls = pod_tls
        self._pod_token = pod_token
        self._changed = changed
        self._local_time = local_time
        self._cpu_time = cpu_time
        self._settings = PickerSettings(version="")
        self._pools: Mapping[str, PoolSettings] = {}
        self._files: Mapping[str, ModelTokens] = {}
        self._overspent: Counter[str] = Counter()
        self._engines: dict[str, _Engine] = {}
        self._client: EngineTokens | None = None
        self._told: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._told_bytes = 0
        self._threads: ThreadPoolExecutor | None = None
        self._busy: dict[asyncio.Task[bytes], int] = {}

    def apply_settings(self, settings: PickerSettings) -> None:
        """Whose prompts are tokenised from now on."""
        self._settings = settings
        self._pools = {pool.cluster: pool for pool in settings.pools}
        asked = {model for model, by in settings.tokenizers.items() if by == "engine"}
        self._engines = {model: self._engines.get(model, _Engine()) for model in asked}

    def set_models(self, models: "Mapping[str, ModelTokens]") -> None:
        """The tokenizers that were read from files, by canonical model name."""
        for model in models:
            if models[model] is not self._files.get(model):
                self._overspent[model] = 0
        self._files = models
        self._changed()

    def is_ready(self, model: str) -> bool:
        """Whether the prompts of a model are tokenised as a rule."""
        match self._settings.tokenizers.get(model):
            case "file":
                return model in self._files and self._overspent[model] < MAX_FAILURES
            case "engine":
                return self._engines[model].is_ready
            case _:
                return False

    def why_not(self, model: str) -> str:
        """Why they are not, for the operator."""
        match self._settings.tokenizers.get(model):
            case "file":
                return _OVERSPENT if model in self._files else "its tokenizer's files cannot be used"
            case "engine":
                return f"its engines are asked for tokens: {self._engines[model].words}"
            case _:
                return "it has no `tokenizer`"

    def count(self, facts: RequestFacts) -> "Counted | asyncio.Task[Counted]":
        """The tokens of a request; never raises. Whoever does not want a task any more cancels it."""
        pool, kind = self._pools.get(facts.cluster), KINDS.get(facts.path.partition("?")[0])
        if pool is None or kind is None or facts.method != "POST" or not self._settings.tokenizers:
            return NOT_COUNTED
        try:
            name = _OUTLINE.decode(facts.body).model
            asked = None if name is None else asked_of(self._settings, facts.route, name)
            by = None if asked is None else self._settings.tokenizers.get(asked.model)
            if asked is None or by is None:
                return NOT_COUNTED
            if len(facts.body) > (MAX_BODY_BYTES if by == "file" else MAX_ASKED_BYTES):
                return self._by_text("its body is too long")
            body = msgspec.json.decode(facts.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return NOT_COUNTED  # the picker's own reader says what is wrong with it
        try:
            if kind in ("responses", "messages"):
                chat = as_chat(kind, body, _engine_of(pool))
                if isinstance(chat, Untold):
                    return self._by_text(chat.why)
                kind, body = "chat", chat
            if by == "file":
                return self._by_file(asked.model, kind, body, pool, len(facts.body))
            return self._by_engine(asked, kind, body, pool, len(facts.body))
        except (TemplateError, ValueError) as error:
            return self._by_text(str(error))

    async def stop(self) -> None:
        """Ends what is under way; harmless when called twice."""
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _by_text(self, why: str) -> Counted:
        self.counts.by_text += 1
        return Counted(None, why)

    def _exactly(self, ids: bytes) -> Counted:
        self.counts.exact += 1
        return Counted(ids)

    # --- by files ---

    def _by_file(
        self, model: str, kind: Kind, body: Mapping[str, Any], pool: PoolSettings, size: int
    ) -> "Counted | asyncio.Task[Counted]":
        files = self._files.get(model)
        if files is None:
            return self._by_text(self.why_not(model))
        if kind == "chat" and self._overspent[model] >= MAX_FAILURES:
            return self._by_text(_OVERSPENT)
        if size > READ_AT_ONCE_BYTES:
            return self._begin(self._tokenised(files, kind, body, _engine_of(pool)), size)
        try:
            text = self._text(files, kind, body, _engine_of(pool))
        except BudgetExceededError:
            self._overspends(model, size)
            raise
        if isinstance(text, bytes):
            return self._exactly(text)
        plan = files.encoder.plan(text.text)
        if plan.missing_chars > ON_THE_SPOT_CHARS:
            return self._begin(self._worked(files, text, plan), size)
        work = files.encoder.work(plan)
        return self._exactly(files.encoder.finish(plan, work, has_special_tokens=text.has_special_tokens))

    def _text(self, files: "ModelTokens", kind: Kind, body: Mapping[str, Any], engine: str) -> Plain | bytes:
        """What is to be tokenised, or the ids themselves. Raises ValueError where that cannot be known."""
        asked = asked_for(kind, body, engine=engine, takes_parts=files.takes_parts)
        match asked:
            case Untold():
                raise ValueError(asked.why)
            case Ids():
                return token_bytes(asked.ids)
            case Chat():
                text = files.text_of(asked, moment=self._local_time(), clock=self._cpu_time)
                return Plain(text, asked.has_special_tokens)
            case Plain():
                return asked

    def _overspends(self, model: str, size: int) -> None:
        """A template that holds up picks again and again is not asked any more, until its file changes."""
        if size > BLAMELESS_BYTES:
            return
        self._overspent[model] += 1
        if self._overspent[model] == MAX_FAILURES:
            self._changed()

    async def _tokenised(self, files: "ModelTokens", kind: Kind, body: Mapping[str, Any], engine: str) -> bytes:
        text = await self._in_thread(self._text, files, kind, body, engine)
        if isinstance(text, bytes):
            return text
        pieces = await self._in_thread(files.encoder.pieces, text.text)
        return await self._worked(files, text, files.encoder.plan(pieces))

    async def _worked(self, files: "ModelTokens", text: Plain, plan: "Plan") -> bytes:
        work = await self._in_thread(files.encoder.work, plan)
        return files.encoder.finish(plan, work, has_special_tokens=text.has_special_tokens)

    async def _in_thread(self, work: Callable[..., _T], *args: Any) -> _T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tokens")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    # --- by engines ---

    def _by_engine(
        self, asked: AskedModel, kind: Kind, body: Mapping[str, Any], pool: PoolSettings, size: int
    ) -> "Counted | asyncio.Task[Counted]":
        prompt = asked_for(kind, body, engine=_engine_of(pool), takes_parts=False)
        match prompt:
            case Untold():
                return self._by_text(prompt.why)
            case Ids():
                return self._exactly(token_bytes(prompt.ids))
            case _:
                pass
        engine = _engine_of(pool)
        question = question_of(kind, body, asked.engine_model, engine)
        # Two pools may have other engines under the same name.
        key = xxhash.xxh3_128_digest(msgspec.json.encode((pool.cluster, engine, question)))
        ids, told_at = self._told.get(key, (None, 0.0))
        if ids is not None and self._clock() - told_at < TOLD_S:
            self._told.move_to_end(key)
            return self._exactly(ids)
        fares = self._engines[asked.model]
        address = self._someone(pool.cluster)
        if self._clock() < fares.resumes_at or address is None:
            return self._by_text(self.why_not(asked.model))
        work = self._told_by(asked.model, pool.name, address, engine, question, key)
        return self._begin(work, size)

    async def _told_by(
        self, model: str, pool: str, address: str, engine: str, question: Mapping[str, Any], key: bytes
    ) -> bytes:
        self.counts.asked += 1
        if self._client is None:
            self._client = EngineTokens(self._pod_tls, self._pod_token, ENGINE_S)
        try:
            async with asyncio.timeout(ENGINE_S):
                ids = await self._client.ask(pool, address, engine, question)
        except AskError as error:
            self._fared(model, error)
            raise
        except TimeoutError:
            late = AskError(f"no answer within {ENGINE_S:g} s")
            self._fared(model, late)
            raise late from None
        self._fared(model, None)
        self._remember(key, ids)
        return ids

    def _remember(self, key: bytes, ids: bytes) -> None:
        before, _ = self._told.pop(key, (None, 0.0))
        self._told[key] = (ids, self._clock())
        self._told_bytes += len(ids) - len(before) if before is not None else len(ids) + _ENTRY_BYTES
        while self._told_bytes > MEMORY_BYTES:
            _, (gone, _) = self._told.popitem(last=False)
            self._told_bytes -= len(gone) + _ENTRY_BYTES

    def _fared(self, model: str, error: AskError | None) -> None:
        fares = self._engines.get(model)
        if fares is None:
            return  # the policy has changed meanwhile
        was_ready = fares.is_ready
        if error is None:
            fares.is_ready, fares.failures, fares.words = True, 0, "they tell"
        elif not (error.is_of_request and was_ready):
            # Who never told may be an engine that takes no such questions at all.
            fares.failures += 1
            fares.words = str(error)
            is_over = fares.failures >= MAX_FAILURES
            if error.is_lasting or is_over:
                fares.resumes_at = self._clock() + PAUSE_S
            # Engines that are only too busy to tell will tell again, and what is known of their blocks stays true; and
            # a single one that does not tell leaves the others.
            fares.is_ready = fares.is_ready and not (error.is_lasting and is_over)
        if fares.is_ready is not was_ready:
            self._changed()

    # --- within its time ---

    def _begin(self, work: Coroutine[Any, Any, bytes], size: int) -> "Counted | asyncio.Task[Counted]":
        """`size` is that of the body."""
        if len(self._busy) >= MAX_BUSY or sum(self._busy.values()) + size > MAX_BUSY_BYTES:
            work.close()
            return self._by_text("too many prompts are being tokenised")
        inner = asyncio.create_task(work, name="tokens of a prompt")
        self._busy[inner] = size
        inner.add_done_callback(self._busy.pop)
        inner.add_done_callback(_fetched)
        return asyncio.create_task(self._within(inner), name="tokens in time")

    async def _within(self, inner: "asyncio.Task[bytes]") -> Counted:
        """What comes late is remembered for the next turn of the conversation."""
        within_s = min(WITHIN_S, self._settings.tokens_within_s)
        await asyncio.wait({inner}, timeout=within_s)
        if not inner.done():
            self.counts.late += 1
            return self._by_text(f"its tokens took longer than {within_s * 1_000:g} ms")
        try:
            return self._exactly(inner.result())
        except (AskError, TemplateError, ValueError) as error:
            return self._by_text(str(error))
        except asyncio.CancelledError:
            return self._by_text("kvpilot is stopping")


def _fetched(task: "asyncio.Task[bytes]") -> None:
    """Looks at what a task came to, so that nobody reports it: what went wrong is counted where it happened."""
    if not task.cancelled():
        task.exception()


def _engine_of(pool: PoolSettings) -> str:
    return pool.endpoints[0].engine if pool.endpoints else ""
