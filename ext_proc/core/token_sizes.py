"""How many tokens a prompt has, by the bytes that it is written in: learned for each model from what engines told.

    tokens = OVERHEAD + bytes / BYTES_PER_TOKEN

English has some 4 bytes a token, code 3, Chinese 2 to 3, by the model's tokenizer; what its chat template adds to each
prompt is the overhead. Both are fitted by ridge regression with forgetting to relative errors, so that long prompts do
not outweigh all others, and they start from `ext_proc.core.blocks.BYTES_PER_TOKEN`. A report that no tokenizer could
make (a prompt of tokens by number, images, nonsense) teaches nothing; any other one is one of about fifty.

Only costs follow from it. Blocks keep their size in bytes, since they would otherwise change their names.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from ext_proc.core.blocks import BLOCK_BYTES, BLOCK_TOKENS, BYTES_PER_TOKEN, tokens_in

# A pool of one base model with many adapters has some hundreds of names; the one that was told of longest ago goes.
MAX_MODELS: Final = 512

# About the last fifty reports count: what is asked of a model changes with its users, by the hour rather than by the
# request.
MEMORY: Final = 0.98

# Reports until they are believed: fewer may all be of one strange client.
ENOUGH: Final = 8

# What the start weighs beside the reports, each of which has weight 1.
RIDGE: Final = 0.1

# Bytes of a token: tokenizers fall back to single bytes at worst; whole words of long-worded languages have up to 16.
LEAST_BYTES: Final = 1.0
MOST_BYTES: Final = 16.0

# Tokens that a template adds: reasoning models' and tool formats' own instructions have some hundreds.
MOST_OVERHEAD: Final = 1_024.0

# Overheads are at most of this order: the unit in which the start says that there is none.
_USUAL_OVERHEAD: Final = 256.0


@dataclass(slots=True)
class _Model:
    """One model's fit: sums of weight, weight·bytes, … over the reports. Mutable; `TokenSizes` is the writer."""

    reports: int = 0
    ones: float = 0.0
    sizes: float = 0.0
    squares: float = 0.0
    tokens: float = 0.0
    products: float = 0.0
    overhead: float = 0.0
    rate: float = 1.0 / BYTES_PER_TOKEN


class TokenSizes:
    """The models. Mutable: the table, the latest last; `learn` is the writer, the picker its only caller."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Model] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def tokens(self, model: str, size: int) -> int:
        """About how many tokens a prompt of `size` bytes is to a model, at least one."""
        known = self._models.get(model)
        if known is None or known.reports < ENOUGH:
            return tokens_in(size)
        return max(1, round(known.overhead + known.rate * size))

    def learn(self, model: str, size: int, tokens: int) -> None:
        """Takes in that an engine counted so many tokens in a prompt of `size` bytes."""
        if not size / MOST_BYTES <= tokens <= size / LEAST_BYTES + MOST_OVERHEAD or tokens < 1:
            return
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _Model()
            if len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(model)
        # Relative to the larger of both: to its own number a report of far too few tokens would outweigh all others.
        most = tokens if known.reports < ENOUGH else max(tokens, self.tokens(model, size))
        _add(known, float(size), float(tokens), 1.0 / most**2)

    def as_dict(self) -> dict[str, Any]:
        """JSON values by model: what is believed of those that enough was told of."""
        return {
            name: {
                "bytes_per_token": round(1.0 / known.rate, 3),
                "overhead_tokens": round(known.overhead, 1),
                "reports": known.reports,
            }
            for name, known in self._models.items()
            if known.reports >= ENOUGH
        }


def block_tokens_of(tokens: int, size: int) -> float:
    """How many of a prompt's `tokens` are in one block of its `size` bytes, where a block has as many bytes as all.

    The overhead is spread over the blocks: a template's beginning is in the cache with the first of them.
    """
    return float(BLOCK_TOKENS) if tokens == tokens_in(size) else tokens * BLOCK_BYTES / max(1, size)


def _add(known: _Model, size: float, tokens: float, weight: float) -> None:
    """Forgets a little, adds a report, and solves the two equations."""
    known.reports += 1
    known.ones += weight - (1 - MEMORY) * known.ones
    known.sizes += weight * size - (1 - MEMORY) * known.sizes
    known.squares += weight * size * size - (1 - MEMORY) * known.squares
    known.tokens += weight * tokens - (1 - MEMORY) * known.tokens
    known.products += weight * size * tokens - (1 - MEMORY) * known.products
    start = 1.0 / BYTES_PER_TOKEN
    ones = known.ones + RIDGE / _USUAL_OVERHEAD**2
    squares = known.squares + RIDGE / start**2
    products = known.products + RIDGE / start
    rate = (ones * products - known.sizes * known.tokens) / (ones * squares - known.sizes**2)
    rate = min(1.0 / LEAST_BYTES, max(1.0 / MOST_BYTES, rate))
    overhead = (known.tokens - known.sizes * rate) / ones
    if not 0.0 <= overhead <= MOST_OVERHEAD:
        # The best that is possible with the nearest overhead that is.
        overhead = min(MOST_OVERHEAD, max(0.0, overhead))
        rate = min(1.0 / LEAST_BYTES, max(1.0 / MOST_BYTES, (products - known.sizes * overhead) / squares))
    known.overhead, known.rate = overhead, rate
