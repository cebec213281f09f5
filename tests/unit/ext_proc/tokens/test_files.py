"""From files to what counts a model's prompts."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from ext_proc.tokens.asked import Chat
from ext_proc.tokens.errors import TemplateError, TokenFileError
from ext_proc.tokens.files import ModelTokens, model_tokens
from tests.kit.tiny_tokenizer import BEGIN, bpe, config, content

TOKENIZER = content(bpe())

# The library itself fails when it tokenises with this.
FAILING = json.dumps(json.loads(TOKENIZER) | {"pre_tokenizer": {"type": "FixedLength", "length": 0}}).encode()


def text_of(model: ModelTokens, *, continued: str | None = None, **variables: Any) -> str:
    """The text of a conversation of one message."""
    chat = Chat({"messages": [{"role": "user", "content": "hi"}], "tools": None, **variables}, continued)
    return model.text_of(chat, moment=datetime(2026, 1, 1, tzinfo=UTC), clock=time.monotonic)


def test_a_repository() -> None:
    """The template of the configuration, with the special tokens that it names in two ways."""
    model = model_tokens(TOKENIZER, config())
    assert text_of(model) == f"{BEGIN}<|im_start|>user\nhi<|im_end|>\n"
    assert text_of(model, add_generation_prompt=True).endswith("<|im_start|>assistant\n")
    assert model.special == {"bos_token": BEGIN, "eos_token": "<|im_end|>"}


def test_a_template_of_its_own_wins() -> None:
    """`--chat-template` does so at the engine."""
    assert text_of(model_tokens(TOKENIZER, config(), b"{{ eos_token }}!")) == "<|im_end|>!"
    assert text_of(model_tokens(TOKENIZER, None, b"{{ bos_token }}!")) == "!"


def test_several_templates() -> None:
    """One may be for requests with tools."""
    both = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    model = model_tokens(TOKENIZER, json.dumps({"chat_template": both}).encode())
    assert (text_of(model), text_of(model, tools=[{}])) == ("plain", "tools")


def test_no_template() -> None:
    """Prompts can be tokenised, conversations cannot."""
    model = model_tokens(TOKENIZER, config(None))
    assert not model.templates
    assert not model.takes_parts
    with pytest.raises(TemplateError, match="no chat template"):
        text_of(model)


def test_continued() -> None:
    """The end of the last message is cut off; a template that drops the message cannot be cut."""
    assert text_of(model_tokens(TOKENIZER, config()), continued="hi").endswith("user\nhi")
    with pytest.raises(TemplateError, match="drops"):
        text_of(model_tokens(TOKENIZER, None, b"x"), continued="hi")


@pytest.mark.parametrize(
    ("files", "which", "line"),
    [
        ((b"no", None, None), "file", 0),
        ((FAILING, None, None), "file", 0),
        ((TOKENIZER, b"no", None), "config", 0),
        ((TOKENIZER, b"[]", None), "config", 0),
        ((TOKENIZER, b'{"chat_template": [1]}', None), "config", 0),
        ((TOKENIZER, b'{"chat_template": "{% if %}"}', None), "config", 1),
        ((TOKENIZER, None, b"\xff"), "chatTemplate", 0),
        ((TOKENIZER, None, b"fine\n{% endfor %}"), "chatTemplate", 2),
    ],
)
def test_files_that_cannot_be_used(files: tuple[bytes, bytes | None, bytes | None], which: str, line: int) -> None:
    """It says which, and in which line."""
    with pytest.raises(TokenFileError) as raised:
        model_tokens(*files)
    assert (raised.value.which, raised.value.line) == (which, line)
