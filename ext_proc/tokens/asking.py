"""Asks an engine for the tokens of a prompt, over HTTP: bounded in time and size.

    engine = EngineTokens(pod_tls, pod_token, timeout_s=2.0)
    ids = await engine.ask("pool", "10.0.0.1:8000", "vllm", question_of("chat", body, "llama", "vllm"))
    await engine.close()

vLLM's and SGLang's `/tokenize` take conversations and plain prompts; llama.cpp's takes text only, so a conversation
goes to its `/apply-template` first.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from ext_proc.core.request import Kind
from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals.fetch import PageError, PageMissingError, PageRefusedError
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf
from ext_proc.signals.rounds import PodPages
from ext_proc.tokens.asked import LLAMACPP, SGLANG, thinking_of

# Of a request's body, what decides its tokens.
_OF_CHATS: Final = (
    "messages", "tools", "tool_choice", "add_generation_prompt", "continue_final_message", "add_special_tokens",
    "chat_template_kwargs", "documents", "reasoning_effort",
)  # fmt: skip
# In vLLM's questions these belong to the variables of the template.
_OF_TEMPLATES: Final = ("documents", "reasoning_effort")
_REFUSED: Final = frozenset({400, 413, 422})
_NOT_THAT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MAX_WORDS: Final = 100


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

    def __init__(self, pod_tls: PodTlsOf, pod_token: PodTokenOf, timeout_s: float) -> None:
        """As engines are asked for their numbers; no single answer takes longer than `timeout_s`."""
        self._pages = PodPages(pod_tls, pod_token)
        self._pages.open(timeout_s)

    async def close(self) -> None:
        """Ends all connections."""
        await self._pages.close()

    async def ask(self, pool: str, address: str, engine: str, question: Mapping[str, Any]) -> bytes:
        """The ids of a prompt (`question_of`) as `token_bytes`; raises AskError. Takes as long as the engine."""
        if engine == LLAMACPP:
            question = await self._of_llamacpp(pool, address, question)
        answer = await self._post(pool, address, "/tokenize", question)
        try:
            return token_bytes(_TOKENS.decode(answer).tokens)
        except _NOT_THAT as error:
            raise AskError("`/tokenize` gave no list of token ids", is_lasting=True) from error

    async def _of_llamacpp(self, pool: str, address: str, question: Mapping[str, Any]) -> dict[str, Any]:
        text, has_special = question.get("prompt"), question.get("add_special_tokens", True)
        if text is None:
            rendered = await self._post(pool, address, "/apply-template", question)
            try:
                text = _RENDERED.decode(rendered).prompt
            except _NOT_THAT as error:
                raise AskError("`/apply-template` gave no text", is_lasting=True) from error
            # Its own chats begin with the token of beginning, which the template leaves out there.
            has_special = True
        return {"content": text, "add_special": has_special, "parse_special": True}

    async def _post(self, pool: str, address: str, path: str, body: Mapping[str, Any]) -> bytes:
        try:
            return await self._pages.ask(pool, address, path, body)
        except PageRefusedError as error:
            is_missing = isinstance(error, PageMissingError)
            raise AskError(
                f"`{path}`: {error}", is_lasting=is_missing, is_of_request=error.status in _REFUSED
            ) from error
        except PageError as error:
            raise AskError(f"`{path}`: {str(error)[:_MAX_WORDS]}") from error
