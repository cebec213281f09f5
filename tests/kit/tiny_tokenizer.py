"""Tokenizers that tests make for themselves: one like those of real models, and one that cuts text as simulated pods
do."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers

from sim import tokens
from sim.kv_messages import token_ids

BEGIN, START, END = "<|begin|>", "<|im_start|>", "<|im_end|>"

CHATML = (
    "{{ bos_token }}{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function.arguments | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

WORDS = (
    "It is a fact that in the end words are words and the quick brown fox jumps over the lazy dog. What do you think? "
    "I think that the best of all possible worlds is the one in which the tokens of a prompt are counted: 1, 2, 3.\n"
)

# As Llama 3's and Qwen's: words with the space before them, numbers, punctuation, line breaks.
WORD = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def bpe() -> Tokenizer:
    """A byte-level BPE with the special tokens of ChatML, and a token of beginning."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORD, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[BEGIN, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return tokenizer


def content(tokenizer: Tokenizer) -> bytes:
    """Its `tokenizer.json`."""
    return str(tokenizer.to_str()).encode()


def config(template: str | None = CHATML) -> bytes:
    """A `tokenizer_config.json`."""
    said = {"bos_token": {"content": BEGIN}, "eos_token": END}
    return json.dumps(said if template is None else {**said, "chat_template": template}).encode()


# What a simulated pod makes of a conversation: every part begins with a new token.
POD_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\x01{{ message.content }}\x01<|end|>\x01{% endfor %}"
    "<|assistant|>"
)


def pod_tokenizer(texts: Iterable[str]) -> bytes:
    """The `tokenizer.json` of a simulated pod, for these texts and all answers of pods."""
    answers = [tokens.WORDS[at : at + 4] for at in range(0, len(tokens.WORDS), 4)]
    parts = [*texts, *(f"<|{role}|>" for role in ("system", "user", "assistant", "end")), *answers]
    parts += [f"{word[:3]}." for word in answers]
    pieces = {part[at : at + 4] for part in parts for at in range(0, len(part), 4)}
    vocabulary = {piece: token_ids(tokens.encode([piece]))[0] for piece in pieces}
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, "\x02": 0}, unk_token="\x02"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\x01", "removed"), pre_tokenizers.Split(Regex(r"[\s\S]{1,4}"), "isolated")]
    )
    # By hand: the library writes only one of several pieces with the same id.
    written = json.loads(tokenizer.to_str())
    written["model"]["vocab"] |= vocabulary
    return json.dumps(written).encode()


def write_pod_tokenizer(directory: Path, texts: Iterable[str]) -> str:
    """Its files; gives the words of a policy that name them."""
    (directory / "tokenizer.json").write_bytes(pod_tokenizer(texts))
    (directory / "template.jinja").write_text(POD_TEMPLATE)
    (directory / "config.json").write_text("{}")
    return "{file: tokenizer.json, config: config.json, chatTemplate: template.jinja}"
