"""A trace's block ids in the units of those who use them: unique over models, and cut as the picker cuts prompts.

Pure.
"""

from dataclasses import dataclass

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
