"""A prompt by its token ids, where somebody could tell them before the pick (`ext_proc.tokens`), or why not."""

from dataclasses import dataclass
from typing import Final

from ext_proc.core.token_blocks import TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class Counted:
    """`ids` are 32-bit little-endian numbers, exactly those that the engine will compute. None: the prompt goes by its
    text, because of `why`; where that is empty, nobody was asked for tokens."""

    ids: bytes | None = None
    why: str = ""

    @property
    def tokens(self) -> int:
        """How many there are; an engine computes at least one."""
        return max(1, len(self.ids or b"") // TOKEN_BYTES)

    @property
    def is_exact(self) -> bool:
        """Whether the prompt goes by its tokens."""
        return self.ids is not None


NOT_COUNTED: Final = Counted()
