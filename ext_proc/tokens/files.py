"""The files of a model's tokenizer: from their content to what counts its prompts. Pure, and slow: up to a second.

    model = model_tokens(tokenizer, config, template)

`tokenizer` is a `tokenizer.json`, `config` a `tokenizer_config.json` with the names of special tokens and maybe the
chat template, `template` a `chat_template.jinja`, which wins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from ext_proc.tokens.asked import Chat, continued
from ext_proc.tokens.encoder import Encoder
from ext_proc.tokens.errors import TemplateError, TokenFileError, TokenizerError
from ext_proc.tokens.template import ChatTemplate

_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

_USUAL, _WITH_TOOLS = "default", "tool_use"
"""Names of a model's several templates, as `transformers` knows them."""


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """What counts the prompts of one model; `templates` are by name, and may be none."""

    encoder: Encoder
    templates: Mapping[str, ChatTemplate]
    special: Mapping[str, str]

    @property
    def takes_parts(self) -> bool:
        """Whether its template wants contents as lists of parts."""
        usual = self.templates.get(_USUAL)
        return usual is not None and usual.takes_parts

    def text_of(self, chat: Chat, *, moment: datetime, clock: Callable[[], float]) -> str:
        """The text of a conversation. Raises TemplateError, where there is no template as well."""
        name = _WITH_TOOLS if chat.variables.get("tools") and _WITH_TOOLS in self.templates else _USUAL
        template = self.templates.get(name)
        if template is None:
            raise TemplateError("there is no chat template")
        text = template.render({**self.special, **chat.variables}, moment=moment, clock=clock)
        if chat.continued is None:
            return text
        try:
            return continued(text, chat.continued)
        except ValueError:
            raise TemplateError("the template drops the text that is to be continued") from None


def model_tokens(tokenizer: bytes, config: bytes | None = None, template: bytes | None = None) -> ModelTokens:
    """Raises TokenFileError."""
    try:
        encoder = Encoder(tokenizer)
    except TokenizerError as error:
        raise TokenFileError("file", str(error)) from error
    settings = {} if config is None else _config(config)
    sources = _sources(settings)
    which = "config"
    if template is not None:
        which, sources = "chatTemplate", {_USUAL: _decoded(template)}
    return ModelTokens(encoder, {name: _template(text, which) for name, text in sources.items()}, _special(settings))


def _config(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TokenFileError("config", f"it is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise TokenFileError("config", "it is no JSON object")
    return found


def _sources(config: Mapping[str, Any]) -> dict[str, str]:
    given = config.get("chat_template")
    if given is None:
        return {}
    if isinstance(given, str):
        return {_USUAL: given}
    try:
        return {str(each["name"]): str(each["template"]) for each in given}
    except (KeyError, TypeError):
        raise TokenFileError("config", "its `chat_template` is neither a text nor a list of templates") from None


def _special(config: Mapping[str, Any]) -> dict[str, str]:
    """A token is its text, or an object with it."""
    found = {}
    for name in _SPECIAL:
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise TokenFileError("chatTemplate", "it is not UTF-8") from None


def _template(source: str, which: str) -> ChatTemplate:
    try:
        return ChatTemplate(source)
    except TemplateError as error:
        raise TokenFileError(which, f"the chat template cannot be used: {error}", error.line) from error
