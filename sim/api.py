"""The HTTP side of one simulated pod: OpenAI's and Anthropic's APIs, health, models, metrics.

One `Api` lives as long as one "process" of a pod: a restarted pod gets a new one, with a cold engine. It is an aiohttp
low-level handler: pods of a load test answer thousands of chunks a second, and the application layer costs time.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import msgspec
from aiohttp import web

from sim import bodies, gpu, metrics, orca, shapes, tokens
from sim.bodies import BadBodyError, Job
from sim.dialects import DIALECTS, Answer, Render, State
from sim.driver import EngineDriver, Ticket
from sim.engine import Engine, Gauges, Profile, Request, Usage
from sim.faults import Fault, FaultBox
from sim.kv_messages import token_ids
from sim.kv_publisher import KvTeller
from sim.listener import reset
from sim.shapes import Meta, Shape

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Route:
    """One API that generates: how to read its body, the prefix of its ids, how it answers."""

    read: bodies.Reader
    id_prefix: str
    shape: Callable[[Meta], Shape] | None
    """None: embeddings, which have no words."""


_ANTHROPIC = "/v1/messages"
_TOKENIZE = "/tokenize"

_GENERATE = {
    "/v1/chat/completions": _Route(bodies.chat, "chatcmpl-", shapes.Chat),
    "/v1/completions": _Route(bodies.completion, "cmpl-", shapes.Completion),
    "/v1/embeddings": _Route(bodies.embeddings, "embd-", None),
    "/v1/responses": _Route(bodies.responses, "", shapes.Responses),
    _ANTHROPIC: _Route(bodies.messages, "msg_", shapes.Messages),
}

_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}

_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError"}


class RefusedError(Exception):
    """A request that ends with an error status."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class Api:
    """Handlers around one engine."""

    # What changes: the engine behind the driver, `seen`, and the count of ids. Single writer: the loop.
    def __init__(
        self,
        name: str,
        models: tuple[str, ...],
        profile: Profile,
        faults: FaultBox,
        rng: random.Random,
        created: float,
        dialect: str = "vllm",
        kv: KvTeller | None = None,
    ) -> None:
        """Build a cold engine on the running loop; `created` is the Unix time of this start, `dialect` one of those in
        `sim.dialects`. `kv` tells the world what the engine has cached."""
        self.seen = metrics.Observations()
        self._kv = kv
        engine = Engine(profile, cache_events=kv is not None)
        self.driver = EngineDriver(engine, self.seen, None if kv is None else kv.tell)
        self._name = name
        self._models = models
        self._profile = profile
        self._faults = faults
        self._rng = rng
        self._created = created
        self._numbers = itertools.count(1)
        self._questions: dict[str, Callable[[], web.Response]] = {
            "/health": lambda: web.Response(headers=self._headers()),
            "/ping": lambda: web.Response(headers=self._headers()),
            "/v1/models": lambda: self._json(self._model_list()),
            gpu.STATUS_PATH: lambda: self._gpu(gpu.status, "application/json"),
            gpu.METRICS_PATH: lambda: self._gpu(gpu.page, "text/plain"),
            "/version": lambda: self._json({"version": metrics.VLLM_VERSION}),
        }
        self._dialect = DIALECTS[dialect]
        self._last_read: dict[str, Gauges] = {}
        self._told = engine.gauges()

    def close(self) -> None:
        """Stop the engine."""
        self.driver.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        route = _GENERATE.get(request.path)
        if route is not None and request.method == "POST":
            return await self._generate(request, route)
        page = self._dialect.pages.get(request.path)
        question = self._questions.get(request.path) if page is None else lambda: self._page(request.path, page)
        if question is not None and request.method in ("GET", "HEAD"):
            return await self._question(request, question)
        if request.path == _TOKENIZE and request.method == "POST":
            return await self._tokenize(request)
        if route is None and question is None:
            return self._json({"detail": "Not Found"}, 404)
        return self._json({"detail": "Method Not Allowed"}, 405)

    # --- questions about the pod ------------------------------------------------------------------------------------

    async def _question(self, request: web.BaseRequest, question: Callable[[], web.Response]) -> web.StreamResponse:
        is_scrape = request.path in self._dialect.pages
        fault = self._faults.for_scrape(self._rng) if is_scrape else self._faults.for_other(self._rng)
        if fault is None:
            return question()
        if fault.kind == "fail_scrape":
            return web.Response(status=500, text="Internal Server Error", headers=self._headers())
        return await self._fail(request, fault)

    def _model_list(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [
                {
                    "id": model,
                    "object": "model",
                    "created": int(self._created),
                    "owned_by": self._dialect.owner,
                    "root": model,
                    "parent": None,
                    "max_model_len": self._profile.kv_tokens,
                }
                for model in self._models
            ],
        }

    def _page(self, path: str, render: Render) -> web.Response:
        # The engine's gauges carry the first model's name: it is served under several names, but it is one engine.
        state = State(
            model=self._models[0],
            profile=self._profile,
            gauges=self._gauges(),
            seen=self.seen,
            created=self._created,
            last_read=self._last_read.get(path),
        )
        self._last_read[path] = state.gauges
        page: Answer = render(state)
        return web.Response(body=page.body.encode(), headers={**self._headers(), "content-type": page.content_type})

    async def _tokenize(self, request: web.BaseRequest) -> web.StreamResponse:
        """The tokens of a conversation or a prompt, as vLLM tells them; the same ids as in KV events."""
        body = await request.read()
        fault = self._faults.for_other(self._rng)
        if fault is not None:
            return await self._fail(request, fault)
        try:
            ids = token_ids(bodies.tokenize(body).prompt)
        except BadBodyError as error:
            return self._error(request, 400, str(error))
        return self._json({"count": len(ids), "max_model_len": self._profile.kv_tokens, "tokens": ids})

    # --- generation -------------------------------------------------------------------------------------------------

    async def _generate(self, request: web.BaseRequest, route: _Route) -> web.StreamResponse:
        body = await request.read()
        fault = self._faults.for_request(self._rng)
        if fault is not None and fault.kind != "cut":
            return await self._fail(request, fault)
        try:
            job = route.read(body)
            return await self._answer(request, route, job, fault)
        except BadBodyError as error:
            return self._error(request, 400, str(error))
        except RefusedError as error:
            return self._error(request, error.status, str(error), error.param)

    async def _answer(self, request: web.BaseRequest, route: _Route, job: Job, cut: Fault | None) -> web.StreamResponse:
        self._admit(job)
        words = tokens.answer(job.model, job.prompt, job.output_tokens) if route.shape is not None else []
        answer_id = f"{route.id_prefix}{next(self._numbers):08x}{self._rng.getrandbits(64):016x}"
        ticket = self._submit(job, words, answer_id)
        try:
            if route.shape is None:
                return await self._whole(request, shapes.embeddings(job, await ticket.end()), cut)
            shape = route.shape(Meta(answer_id, int(self._created + ticket.submitted), job))
            if job.stream:
                return await self._stream(request, ticket, words, shape, cut)
            return await self._whole(request, shape.whole("".join(words), await ticket.end()), cut)
        finally:
            # Whatever ended this (the answer, a client that left, a fault), the engine works for it no longer.
            self.driver.abort(ticket)

    def _admit(self, job: Job) -> None:
        """Refuse what cannot be served, before any work is done for it."""
        if job.model not in self._models:
            raise RefusedError(404, f"The model `{job.model}` does not exist.", "model")
        limit, prompt = self._profile.kv_tokens, tokens.count(job.prompt)
        if prompt + job.output_tokens > limit:
            asked = f"{prompt} prompt tokens and {job.output_tokens} output tokens"
            raise RefusedError(
                400, f"This model's maximum context length is {limit} tokens, the request asks for {asked}."
            )
        if self._profile.max_waiting is not None and self.driver.engine.waiting >= self._profile.max_waiting:
            self.seen.rejected += 1
            raise RefusedError(503, "the queue is full")

    def _submit(self, job: Job, words: list[str], answer_id: str) -> Ticket:
        everything = job.prompt + tokens.encode(["".join(words)])
        hashes = tokens.chain(job.model, everything, self._profile.block_size)
        if self._kv is not None:
            # One engine has one model; what else it serves are adapters of it, with caches of their own.
            self._kv.note(hashes, everything, "" if job.model == self._models[0] else job.model)
        request = Request(answer_id, hashes, tokens.count(job.prompt), job.output_tokens)
        return self.driver.submit(request, "length" if job.is_limited else "stop")

    async def _stream(
        self, request: web.BaseRequest, ticket: Ticket, words: list[str], shape: Shape, cut: Fault | None
    ) -> web.StreamResponse:
        # As in real engines the headers go out at once, long before the first token.
        headers = {**self._headers(), "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        left = cut.after_chunks if cut is not None else None
        done = 0
        while not ticket.is_over:
            begin, done = done, done + await ticket.more()
            events: list[bytes] = []
            if begin == 0:
                events += shape.first(Usage(ticket.request.prompt_tokens, ticket.cached_tokens, 0))
            events += shape.words(words[begin:done])
            if ticket.usage is not None:
                events += shape.last("".join(words), ticket.usage)
            if left is not None:
                events, left = events[:left], left - len(events)
            if events:
                await response.write(b"".join(events))
            if left is not None and left <= 0:
                await _hang_up(request)
        await response.write_eof()
        return response

    async def _whole(self, request: web.BaseRequest, answer: dict[str, Any], cut: Fault | None) -> web.StreamResponse:
        if cut is None:
            return self._json(
                answer, headers=orca.load_headers(request.headers.get(orca.FORMAT_HEADER), self._gauges())
            )
        body = msgspec.json.encode(answer)
        headers = {**self._headers(), "content-type": "application/json", "content-length": str(len(body))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        return await _hang_up(request)

    # --- errors and faults ------------------------------------------------------------------------------------------

    async def _fail(self, request: web.BaseRequest, fault: Fault) -> web.Response:
        if fault.kind == "status":
            return self._error(request, fault.code, "simulated fault")
        if fault.kind == "die" and request.transport is not None:
            reset(request.transport)
        return await _until_cancelled()

    def _error(self, request: web.BaseRequest, status: int, message: str, param: str | None = None) -> web.Response:
        if request.path == _ANTHROPIC:
            kind = _ANTHROPIC_ERRORS.get(status, "api_error")
            return self._json(shapes.anthropic_error(kind, message), status)
        if status == 503:
            return self._json(shapes.busy(), status)
        return self._json(shapes.error(status, _ERROR_TYPES.get(status, "APIError"), message, param), status)

    def _headers(self) -> dict[str, str]:
        return {"x-pod": self._name}

    def _gauges(self) -> Gauges:
        """What it tells of itself, which a fault may have made a lie, or old."""
        now = self.driver.engine.gauges()
        fault = self._faults.current
        if fault is None or fault.kind != "stale":
            self._told = now
            return replace(now, running=0, waiting=0, kv_usage=0.0) if fault and fault.kind == "lie" else now
        return self._told

    def _gpu(self, render: Callable[[str, Gauges, Fault | None], str], content_type: str) -> web.Response:
        text = render(self._name, self.driver.engine.gauges(), self._faults.current)
        return web.Response(text=text, headers=self._headers(), content_type=content_type)

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        body = msgspec.json.encode(value)
        headers = {**self._headers(), **(headers or {})}
        return web.Response(body=body, status=status, headers=headers, content_type="application/json")


async def _until_cancelled() -> NoReturn:
    """Wait until the connection is lost: that cancels the handler."""
    while True:
        await asyncio.get_running_loop().create_future()


async def _hang_up(request: web.BaseRequest) -> NoReturn:
    """Close the connection in the middle of an answer; what was written still arrives."""
    if request.transport is not None:
        request.transport.close()
    await _until_cancelled()
