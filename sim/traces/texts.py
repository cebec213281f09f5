"""Made-up texts: which blocks a prompt has when it is put together from pieces.

Pure. A text is a number and a length, its content is never written. Prompts that begin with the same pieces in the same
order have the same block ids as far as that goes, wherever the pieces end. Example:

    texts = Texts(block_tokens=64)
    system, question = texts.new(), texts.new()
    prompt = texts.add(texts.add(Prompt(), system, 400), question, 30)  # 6 whole blocks, 46 tokens behind them
"""

from dataclasses import dataclass

Slice = tuple[int, int, int]
"""A part of a text: its number, from where, how many tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Some tokens put together."""

    blocks: tuple[int, ...] = ()
    """Ids of the whole blocks."""

    rest: tuple[Slice, ...] = ()
    """What lies behind the last whole block."""

    tokens: int = 0


class Texts:
    """Gives out numbers for texts, and an id for each block that is met for the first time."""

    # What changes: the two counts and the table of blocks, which only grow. Single writer: the generator that owns it.
    def __init__(self, block_tokens: int) -> None:
        """Cut prompts into blocks of `block_tokens`."""
        self.block_tokens = block_tokens
        self._texts = 0
        self._ids: dict[tuple[int, tuple[Slice, ...]], int] = {}

    def new(self) -> int:
        """Return a text that nobody has used yet."""
        self._texts += 1
        return self._texts

    def add(self, prompt: Prompt, text: int, tokens: int) -> Prompt:
        """Return `prompt` with the first `tokens` tokens of `text` behind it."""
        size, ids = self.block_tokens, self._ids
        before = prompt.blocks[-1] if prompt.blocks else -1
        rest, start = prompt.rest, 0
        room = size - sum(length for _, _, length in rest)
        fresh = []
        while tokens - start >= room:
            before = ids.setdefault((before, (*rest, (text, start, room))), len(ids))
            fresh.append(before)
            start += room
            rest, room = (), size
        if start < tokens:
            rest = (*rest, (text, start, tokens - start))
        return Prompt(prompt.blocks + tuple(fresh), rest, prompt.tokens + tokens)
