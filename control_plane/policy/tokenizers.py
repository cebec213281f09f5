"""How the picker comes to the tokens of a model's prompts, and what a pool does with them."""

from typing import Final

from control_plane.policy.declare import Block, block, setting
from control_plane.policy.names import MODEL_NAME
from control_plane.policy.scalars import Choice
from control_plane.policy.security import FILE

BY_FILE: Final = "file"
BY_ENGINE: Final = "engine"

AUTO: Final = "auto"
PRECISE: Final = "precise"
APPROXIMATE: Final = "approximate"


@block()
class Tokenizer(Block):
    """Where the tokens of a model's prompts come from. `docs/tokens.md` says what for.

    The files are those that a model's repository has, read again when they change.
    """

    from_: str = setting(
        Choice((BY_FILE, BY_ENGINE)),
        default=BY_FILE,
        doc="`file`: the picker tokenises by itself. `engine`: it asks one of the pool's engines (`/tokenize` of vLLM, "
        "SGLang and llama.cpp) and waits up to 0.1 s for the answer.",
    )
    file: str = setting(FILE, default="", absent=("", "none"), doc="The `tokenizer.json`.")
    config: str = setting(
        FILE,
        default="",
        absent=("", "none"),
        doc="The `tokenizer_config.json`: special tokens for the chat template, and mostly the template itself.",
    )
    chat_template: str = setting(
        FILE,
        default="",
        absent=("", "that of `config`; without either, chats go by their text"),
        doc="A file with the chat template (`chat_template.jinja`, vLLM's `--chat-template`).",
    )

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Keys and paths of the files that are named."""
        named = (("file", self.file), ("config", self.config), ("chatTemplate", self.chat_template))
        return tuple((key, path) for key, path in named if path)


@block()
class PrefixIndex(Block):
    """How the picker keeps track of what the engines' prefix caches hold."""

    mode: str = setting(
        Choice((AUTO, PRECISE, APPROXIMATE)),
        default=AUTO,
        doc="`auto`: by the engines' own events (`kvEvents`) where they come and prompts are tokenised (`tokenizer`), "
        "else by what the picker predicts. `precise`: the same, and it is an error if the policy lacks either. "
        "`approximate`: by predictions; events tell of restarts only.",
    )
    base_model: str = setting(
        MODEL_NAME,
        default="",
        absent=("", "the first model that leads to the pool"),
        doc="What the engines serve, by the name that they are asked for; other names are LoRA adapters to it.",
    )
