"""A tiny random Llama in GGUF: real enough for a real llama.cpp server, written in a moment."""

from pathlib import Path

import gguf
import numpy as np

LAYERS = 2
WIDTH = 64
HEADS = 4
FEED_FORWARD = 128
CONTEXT = 32_768

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes: printable Latin-1 stays, the rest moves up from 256 on."""
    stays = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in stays}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(stays))
    return [letters[byte] for byte in range(256)]


def write_tiny_llama(path: Path, seed: int = 1, layers: int = LAYERS) -> None:
    """Writes the model; the same seed gives the same weights. More layers take more time for the same words."""
    letters = _byte_letters()
    merges = ["t h", "e r", "i n"]
    tokens = [*letters, *(merge.replace(" ", "") for merge in merges), "<s>", "</s>"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 2) + [3, 3])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_chat_template(CHAT_TEMPLATE)
    _add_tensors(writer, len(tokens), layers, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensors(writer: gguf.GGUFWriter, vocabulary: int, layers: int, rng: np.random.Generator) -> None:
    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (rng.standard_normal(shape) * 0.05).astype(np.float32))

    add("token_embd", vocabulary, WIDTH)
    add("output", vocabulary, WIDTH)
    add("output_norm", WIDTH)
    for layer in range(layers):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm", WIDTH)
        add(f"{block}.ffn_norm", WIDTH)
        for part in ("q", "k", "v", "output"):
            add(f"{block}.attn_{part}", WIDTH, WIDTH)
        add(f"{block}.ffn_gate", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_up", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_down", WIDTH, FEED_FORWARD)
