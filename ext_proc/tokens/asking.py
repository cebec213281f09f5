"""Asks an engine for the tokens of a prompt, over HTTP: bounded in time and size.

    engine = EngineTokens()
    ids = await engine.ask("10.0.0.1:8000", "vllm", tls, question_of("chat", body, "llama"))
    await engine.close()

vLLM's and SGLang's `/tokenize` take conversations and plain prompts; llama.cpp's takes text only, so a conversation
goes to its `/apply-template` first.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import aiohttp
import msgspec

from ext_proc.core.request import Kind
from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals.pod_tls import PodTls
from ext_proc.tokens.asked import LLAMACPP, SGLANG, thinking_of

MAX_ANSWER_BYTES: Final = 4 << 20
"""Of ids in JSON: half a million of them, which take some 30 ms to read. Nobody asks for more."""

# Of a request's body, what decides its tokens.
_OF_CHATS: Final = (
    "messages", "tools", "tool_choice", "add_generation_prompt", "continue_final_message", "add_special_tokens",
    "chat_template_kwargs", "documents", "reasoning_effort",
)  # fmt: skip
# In vLLM's questions these belong to the variables of the template.
_OF_TEMPLATES: Final = ("documents", "reasoning_effort")
_MISSING: Final = frozenset({404, 405, 501})
_REFUSED: Final = frozenset({400, 413, 422})
_CHUNK_BYTES: Final = 1 << 16
_NOT_THAT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Below uvicorn's 5 s of keep-alive.
_KEEP_ALIVE_S: Final = 4.0


class _Tokens(msgspec.Struct):
    """An answer of `/tokenize`."""

    tokens: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]]


class _Rendered(msgspec.Struct):
    """An answer of `/apply-template`."""

    prompt: str


_TOKENS: Final = msgspec.json.Decoder(_Tokens)
_RENDERED: Final = msgspec.json.Decoder(_Rendered)


class AskError(Exception):
    """The engine did not tell. `is_lasting`: it will not tell the next time either; `is_of_request`: it tells of other
    requests, this one it does not take."""

    def __init__(self, words: str, *, is_lasting: bool = False, is_of_request: bool = False) -> None:
        super().__init__(words)
        self.is_lasting = is_lasting
        self.is_of_request = is_of_request


def question_of(kind: Kind, body: Mapping[str, Any], model: str, engine: str) -> dict[str, Any]:
    """The body of a question to `/tokenize`, in the engine's words; equal ones have equal answers."""
    if kind == "chat":
        given = {name: body[name] for name in _OF_CHATS if body.get(name) is not None}
        if engine not in (SGLANG, LLAMACPP):
            moved: dict[str, Any] = {name: given.pop(name) for name in _OF_TEMPLATES if name in given}
            if moved:
                own = given.get("chat_template_kwargs") or {}
                given["chat_template_kwargs"] = {**thinking_of(moved, engine), **moved, **own}
        return {"model": model, **given}
    prompt = body.get("prompt" if kind == "completion" else "input")
    return {
        "model": model,
        "prompt": prompt[0] if isinstance(prompt, list) else prompt,
        "add_special_tokens": body.get("add_special_tokens", True) is not False,
    }


class EngineTokens:
    """Mutable: its connections. Needs a running event loop; whoever made it closes it."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()

    async def ask(self, address: str, engine: str, tls: PodTls | None, question: Mapping[str, Any]) -> bytes:
        """The ids of a prompt (`question_of`) as `token_bytes`; raises AskError. Takes as long as the engine."""
        if engine == LLAMACPP:
            question = await self._of_llamacpp(address, tls, question)
        answer = await self._post(address, tls, "/tokenize", question)
        try:
            return token_bytes(_TOKENS.decode(answer).tokens)
        except _NOT_THAT as error:
            raise AskError("`/tokenize` gave no list of token ids", is_lasting=True) from error

    async def _of_llamacpp(self, address: str, tls: PodTls | None, question: Mapping[str, Any]) -> dict[str, Any]:
        text, has_special = question.get("prompt"), question.get("add_special_tokens", True)
        if text is None:
            rendered = await self._post(address, tls, "/apply-template", question)
            try:
                text = _RENDERED.decode(rendered).prompt
            except _NOT_THAT as error:
                raise AskError("`/apply-template` gave no text", is_lasting=True) from error
            # Its own chats begin with the token of beginning, which the template leaves out there.
            has_special = True
        return {"content": text, "add_special": has_special, "parse_special": True}

    async def _post(self, address: str, tls: PodTls | None, path: str, body: Mapping[str, Any]) -> bytes:
        options: dict[str, Any] = {}
        if tls is not None:
            if tls.context is None:
                raise AskError("the files for TLS to the pool are missing")
            options = {"ssl": tls.context, **({"server_hostname": tls.server_name} if tls.server_name else {})}
        url = f"{'http' if tls is None else 'https'}://{address}{path}"
        headers = {"content-type": "application/json"}
        data = msgspec.json.encode(body)
        try:
            async with self._session.post(
                url, data=data, headers=headers, allow_redirects=False, **options
            ) as response:
                if response.status != 200:
                    status = response.status
                    words = f"`{path}`: HTTP {status}"
                    raise AskError(words, is_lasting=status in _MISSING, is_of_request=status in _REFUSED)
                return await _content(response)
        except (aiohttp.ClientError, OSError) as error:
            raise AskError(f"`{path}`: {str(error)[:100] or type(error).__name__}") from error


async def _content(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise AskError(f"it gave more than {MAX_ANSWER_BYTES:,} bytes")
    return bytes(content)
