"""What a pool has learned from its picks, beside what is known of each endpoint."""

from dataclasses import dataclass

from ext_proc.core.events import Picked

# mean(u) starts here and forgets: about the last fifty requests count.
START_MEAN_TOKENS = 1_000.0
START_GAP_S = 1.0
MEAN_MEMORY = 0.98

# Share of a pool's prompts that have to begin alike for their common beginning to count as everybody's. With several
# applications in one pool, each with a system prompt of its own, copying each of them everywhere costs more than it
# gains: first tokens came 2–5 % later.
EVERYBODY = 0.8


@dataclass(slots=True)
class History:
    """It outlives settings. Mutable: all fields; `learn` is the writer, the picker its only caller."""

    turn: int = 0
    """Picks so far."""
    mean_uncached: float = START_MEAN_TOKENS
    gap_s: float = START_GAP_S
    """The usual time between two picks."""
    picked_at: float | None = None
    opening: int | None = None
    opening_share: float = 0.0
    """The block that most of the latest prompts begin with, and how many of them do, from 0 to 1."""

    def is_everybodys(self, blocks: tuple[int, ...]) -> bool:
        """Whether nearly all of the pool's prompts begin as this one does."""
        return bool(blocks) and blocks[0] == self.opening and self.opening_share >= EVERYBODY

    def as_dict(self) -> dict[str, float]:
        """JSON values: what the next request is expected to be like."""
        return {"uncached_tokens": round(self.mean_uncached, 1), "gap_ms": round(1e3 * self.gap_s, 3)}

    def learn(self, event: Picked) -> None:
        """Takes in one pick of the pool."""
        self.turn += 1
        self.mean_uncached += (1 - MEAN_MEMORY) * (event.uncached_tokens - self.mean_uncached)
        # The first few count alike, so that they outweigh the start.
        share = max(1 - MEAN_MEMORY, 1 / self.turn)
        if self.picked_at is not None:
            self.gap_s += share * (max(0.0, event.at - self.picked_at) - self.gap_s)
        self.picked_at = event.at
        if event.blocks:
            self.opening_share += share * ((event.blocks[0] == self.opening) - self.opening_share)
            if self.opening_share < 0.5:
                self.opening, self.opening_share = event.blocks[0], 0.5
