"""What the tokens of a prompt cost a pick: `python -m bench.tokens` prints a table and, as its last line, the same as
JSON.

    python -m bench.tokens [--tokenizer FILE]

A conversation of as many tokens is rendered by a ChatML template, tokenised, and hashed into blocks. *Cold*: never seen
before, in one thread. *Next turn*: all of it but a short last message was seen a moment ago. *Same beginning*: one long
message whose last words are new, such as a question behind a document. *By text* is what a pick without a tokenizer
does in their place: the text is joined and hashed. Times are the median of several runs, in milliseconds.

Without a file the tokenizer is a byte-level BPE with a small vocabulary, trained on this repository's documentation;
its words are cut as Llama's and Qwen's are.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from ext_proc.core.blocks import block_hashes
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.token_blocks import hashes_of
from ext_proc.tokens.asked import Chat, asked_for
from ext_proc.tokens.encoder import PIECE_CHARS, TRIALS
from ext_proc.tokens.files import ModelTokens, model_tokens

SIZES = (1_000, 8_000, 32_000)
TURN_TOKENS = 500
REPETITIONS = 9
DOCS = Path(__file__).parents[1] / "docs"
MARKS = ("<|im_start|>", "<|im_end|>")
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
Messages = list[dict[str, str]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="What the tokens of a prompt cost a pick.")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json (default: a small one, made here)")
    content = tokenizer(parser.parse_args().tokenizer)
    rows = [costs(content, size) for size in SIZES]
    table = Table("tokens", "cold, ms", "next turn, ms", "same beginning, ms", "by text, ms")
    for row in rows:
        table.add_row(
            f"{row['tokens']:,}", *(f"{row[key]:.2f}" for key in ("cold_ms", "next_ms", "beginning_ms", "text_ms"))
        )
    Console().print(table)
    print(json.dumps({"tokens": rows}))


def tokenizer(file: Path | None) -> bytes:
    """That of a file, or one of our own."""
    if file is not None:
        return file.read_bytes()
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8_000, special_tokens=list(MARKS), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts(), trainer)
    return str(made.to_str()).encode()


def texts() -> list[str]:
    """Pages of documentation."""
    return [page.read_text() for page in sorted(DOCS.glob("*.md"))]


def costs(content: bytes, size: int) -> dict[str, Any]:
    """The figures of one length."""
    model = model_tokens(content, None, CHATML.encode())
    rng = random.Random(size)
    words = [word for text in texts() for word in text.split()]

    def said(tokens: int) -> str:
        # About 1.8 tokens to a word of these texts.
        return " ".join(rng.choices(words, k=int(tokens / 1.8)))

    def conversation() -> Messages:
        turns = max(1, size // TURN_TOKENS)
        return [{"role": ("user", "assistant")[turn % 2], "content": said(size // turns)} for turn in range(turns)]

    for _ in range(TRIALS):
        ids(model, [{"role": "user", "content": said(2 * PIECE_CHARS)}])
    begun = [conversation() for _ in range(REPETITIONS)]
    cold = [spent(lambda chat=chat: ids(model, chat)) for chat in begun]  # type: ignore[misc]
    following = [[*chat, {"role": "user", "content": said(20)}] for chat in begun]
    after = [spent(lambda chat=chat: ids(model, chat)) for chat in following]  # type: ignore[misc]
    document = said(size)
    ids(model, [{"role": "user", "content": document}])
    asked = [[{"role": "user", "content": f"{document} {said(20)}"}] for _ in range(REPETITIONS)]
    beginning = [spent(lambda chat=chat: ids(model, chat)) for chat in asked]  # type: ignore[misc]
    request = parsed(begun[0])
    text = [spent(lambda: block_hashes(request.prompt, "m")) for _ in range(REPETITIONS)]
    return {
        "tokens": len(ids(model, begun[0])) // 4,
        "cold_ms": middle(cold),
        "next_ms": middle(after),
        "beginning_ms": middle(beginning),
        "text_ms": middle(text),
    }


def ids(model: ModelTokens, messages: Messages) -> bytes:
    """What a pick does: render, tokenise, hash."""
    asked = asked_for("chat", {"messages": messages}, engine="vllm", takes_parts=model.takes_parts)
    assert isinstance(asked, Chat)
    text = model.text_of(asked, moment=datetime.now(UTC), clock=time.monotonic)
    plan = model.encoder.plan(text)
    found = model.encoder.finish(plan, model.encoder.work(plan), has_special_tokens=False)
    hashes_of(found, "m")
    return found


def parsed(messages: Messages) -> ParsedRequest:
    """The same conversation, as the picker reads it."""
    body = json.dumps({"model": "m", "messages": messages}).encode()
    request = parse_request(RequestFacts(body=body, path="/v1/chat/completions"))
    assert isinstance(request, ParsedRequest)
    return request


def spent(work: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def middle(values: Sequence[float]) -> float:
    """The median."""
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
