"""A trace's block ids in the units of those who use them: unique over models, and cut as the picker cuts prompts.

Pure.
"""

from dataclasses import dataclass, replace

from ext_proc.core.events import BlocksRemoved, BlocksStored
from sim.traces.trace import Trace, TraceRequest

_MASK_64 = (1 << 64) - 1
# 2⁶⁴ divided by the golden ratio: multiples of it are spread evenly over all ids (Knuth, multiplicative hashing).
_SPREAD = 0x9E37_79B9_7F4A_7C15


@dataclass(frozen=True, slots=True)
class Ids:
    """Block ids that are unique over models: engines cache each model's prompts apart. The first model's are kept."""

    numbers: dict[str, int]

    def __call__(self, request: TraceRequest) -> tuple[int, ...]:
        """The ids of a prompt."""
        return self.of(request.model, request.blocks)

    def of(self, model: str, blocks: tuple[int, ...]) -> tuple[int, ...]:
        """Ids of a model's blocks."""
        number = self.numbers[model]
        return tuple((block + number * _SPREAD) & _MASK_64 for block in blocks) if number else blocks


def ids_by_model(trace: Trace) -> Ids:
    """The ids of a trace's blocks."""
    return Ids({model: number for number, model in enumerate(dict.fromkeys(r.model for r in trace.requests))})


def picker_blocks(
    request_id: int, blocks: tuple[int, ...], block_tokens: int, tokens: int, size: int
) -> tuple[int, ...]:
    """The prompt in chained blocks of `size` tokens, the last one partial, as the production picker names them.

    A block is known by the trace's block that its end lies in. Behind the trace's last whole block nothing is known to
    be equal to anything, so those blocks belong to this request alone.
    """
    known = len(blocks) * block_tokens // size
    whole = [(blocks[(size * (n + 1) - 1) // block_tokens] + _SPREAD * (n + 1)) & _MASK_64 for n in range(known)]
    own = (request_id + 1) * _SPREAD * _SPREAD
    rest = [(own + _SPREAD * n) & _MASK_64 for n in range(known, -(-tokens // size))]
    return tuple(whole + rest)


class Chains:
    """Translates what engines tell of the trace's blocks into the picker's blocks: those that end in them.

    Mutable: for every block that was ever stored, where in a prompt it is and which picker block ends in it or before;
    `stored` is the writer.
    """

    def __init__(self, block_tokens: int, size: int) -> None:
        """From blocks of `block_tokens` tokens to blocks of `size` tokens."""
        self._block_tokens, self._size = block_tokens, size
        self._known: dict[int, tuple[int, int | None]] = {}

    def stored(self, event: BlocksStored) -> BlocksStored | None:
        """The same in picker blocks; None when none ends in these. Raises KeyError for a parent never stored."""
        depth, parent = (-1, None) if event.parent is None else self._known[event.parent]
        last, made = parent, []
        for block in event.blocks:
            depth += 1
            ends = self._ends(block, depth)
            made += ends
            last = ends[-1] if ends else last
            self._known[block] = (depth, last)
        return replace(event, blocks=tuple(made), parent=parent) if made else None

    def removed(self, event: BlocksRemoved) -> BlocksRemoved | None:
        """The same in picker blocks; None when none ends in these. Raises KeyError for blocks never stored."""
        made = [end for block in event.blocks for end in self._ends(block, self._known[block][0])]
        return replace(event, blocks=tuple(made)) if made else None

    def _ends(self, block: int, depth: int) -> list[int]:
        """As `picker_blocks` names them; `depth` counts the blocks before this one."""
        first, behind = depth * self._block_tokens // self._size, (depth + 1) * self._block_tokens // self._size
        return [(block + _SPREAD * (n + 1)) & _MASK_64 for n in range(first, behind)]
