"""One judge of predictions: what was believed cached against what was found, in windows, and a verdict.

What is added up, when a window ends, and which finding follows is said at `ext_proc.core.truth`, whose parts judges
are. Pure.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

# Requests of which something was believed, until there is a finding. A burst in which a prefix is looked for while it
# is still being computed is shorter; a pool has as many within seconds.
WINDOW: Final = 32

# Requests of any kind after which a window ends anyway: most prompts may be new, and then little can be wrong.
LONG_WINDOW: Final = 128

# Fewer than so many requests with a belief are no finding about it.
LEAST_BELIEFS: Final = 16

# Tokens from which on a belief counts: two of our blocks, since engines lose up to one of theirs at the end.
LEAST_BELIEVED: Final = 128

# Below this share the index is wrong, above that one it is right (again). Between them a healthy pool that evicts
# under pressure is left alone, and one that fell back stays so. With everything right the share is 0.9 and more.
BAD: Final = 0.5
GOOD: Final = 0.7

# Below this share nothing is taken to be cached at all: caching is off, and single hits are left over from before.
NOTHING: Final = 0.1

# Engines find so many times what was believed, and at least this share of all prompt tokens.
UNDER: Final = 2.0
UNDER_SHARE: Final = 0.2

# Share of the answers that must tell what was found; with fewer, those that do are not like the others.
TOLD: Final = 0.25

# Counters speak for our requests where they count between a half and twice the tokens that we sent: scrapes come late,
# and tokens are estimates.
LEAST_COVER: Final = 0.5
MOST_COVER: Final = 2.0

# Share of the prompt tokens that must be believed cached for the counters to refute it: below, others' load decides.
LEAST_CLAIM: Final = 0.1

# Windows in a row in which nobody tells, after which a finding is too old to act on.
STALE_WINDOWS: Final = 4


class Verdict(Enum):
    """What is known of the predictions of a pool or an endpoint."""

    UNKNOWN = "unknown"  # too few requests yet, or none of which anything was believed
    FINE = "fine"
    OVER = "over"
    UNDER = "under"
    UNTOLD = "untold"


@dataclass(slots=True)
class _Window:
    """Sums over some requests, and over what engines counted meanwhile. Mutable; `Judge` is the writer."""

    ended: int = 0
    prompts: int = 0
    claimed: int = 0
    told: int = 0
    beliefs: int = 0
    believed: int = 0
    found: int = 0
    shares: float = 0.0
    told_prompts: int = 0
    told_claimed: int = 0
    told_found: int = 0
    counted_prompts: int = 0
    counted_queries: int = 0
    counted_hits: int = 0


@dataclass(slots=True)
class Judge:
    """Judges one pool, or one endpoint of it. Mutable: all of it; `Truth` is the writer.

    `trust` is what a token that is believed cached counts for, from 0 to 1; `share` what the last window found of what
    was believed, None before.
    """

    verdict: Verdict = Verdict.UNKNOWN
    trust: float = 1.0
    share: float | None = None
    why: str = ""
    windows: int = 0
    untold: int = 0
    """Windows in a row in which nobody told."""
    _sums: _Window = field(default_factory=_Window)

    def ended(self, believed: int, prompt: int, found: int | None) -> bool:
        """Takes in one request; whether that ended a window."""
        sums = self._sums
        sums.ended += 1
        sums.prompts += prompt
        sums.claimed += believed
        if found is not None:
            found = min(found, prompt)
            sums.told += 1
            sums.told_prompts += prompt
            sums.told_claimed += believed
            sums.told_found += found
            if believed >= LEAST_BELIEVED:
                sums.beliefs += 1
                sums.believed += believed
                sums.found += min(found, believed)
                sums.shares += min(found, believed) / believed
        return self._judge()

    def counted(self, prompts: int, queries: int, hits: int) -> None:
        """Takes in by how much an engine's own counters of prompt tokens and of its prefix cache went up."""
        sums = self._sums
        sums.counted_prompts += prompts
        sums.counted_queries += queries
        sums.counted_hits += hits

    def begin_anew(self) -> None:
        """What is believed rests on something else from now on; the verdict stays until the next window."""
        self.trust = 1.0
        self._sums = _Window()

    def _judge(self) -> bool:
        sums = self._sums
        if sums.beliefs < WINDOW and sums.ended < LONG_WINDOW and not (sums.counted_prompts and self._is_counted_out()):
            return False
        is_told = sums.told >= TOLD * sums.ended
        if is_told and sums.beliefs >= LEAST_BELIEFS:
            # The better of the two: neither one very long prompt nor many short ones condemn a pool.
            better = max(sums.found / sums.believed, sums.shares / sums.beliefs)
            self._find(better, "answers", is_under=_is_under(sums))
        elif is_told:
            if _is_under(sums):
                self._find(1.0, "answers", is_under=True)
        elif (share := _counted_share(sums)) is not None:
            self._find(share, "the engines' counters", is_under=False)
        else:
            self._settle(Verdict.UNTOLD, f"{sums.told} of {sums.ended} answers told what was found in the cache")
        self.windows += 1
        self._sums = _Window()
        return True

    def _is_counted_out(self) -> bool:
        """Whether the counters have to speak, and can."""
        sums = self._sums
        return sums.ended >= WINDOW and sums.told < TOLD * sums.ended and _counted_share(sums) is not None

    def _find(self, share: float, by: str, *, is_under: bool) -> None:
        self.share = share
        if share < (GOOD if self.verdict is Verdict.OVER else BAD):
            self._settle(Verdict.OVER, _over(share, by))
            self.trust = share if share >= NOTHING else 0.0
        elif is_under:
            why = "engines find far more than was believed: others fill their caches, or answers come back in prompts"
            self._settle(Verdict.UNDER, why)
        else:
            self._settle(Verdict.FINE, f"{share:.0%} of what was believed cached was found, by {by}")

    def _settle(self, verdict: Verdict, why: str) -> None:
        self.untold = self.untold + 1 if verdict is Verdict.UNTOLD else 0
        if self.verdict is Verdict.OVER and 0 < self.untold < STALE_WINDOWS:
            return  # who was found wrong is not right because nobody tells at the moment
        self.verdict, self.why = verdict, why
        if verdict is not Verdict.OVER:
            self.trust = 1.0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "verdict": self.verdict.value,
            "trust": round(self.trust, 3),
            "found_share": None if self.share is None else round(self.share, 3),
            "windows": self.windows,
            "why": self.why,
        }


def _counted_share(sums: _Window) -> float | None:
    """The share of what was believed that the counters confirm; None where they cannot tell."""
    if not sums.prompts or not LEAST_COVER <= sums.counted_prompts / sums.prompts <= MOST_COVER:
        return None
    claim = sums.claimed / sums.prompts
    if claim < LEAST_CLAIM:
        return None
    # An engine without prefix caching computes prompts and looks nothing up.
    rate = sums.counted_hits / sums.counted_queries if sums.counted_queries else 0.0
    return min(1.0, rate / claim)


def _is_under(sums: _Window) -> bool:
    return sums.told_found >= max(UNDER * sums.told_claimed, UNDER_SHARE * sums.told_prompts, 1.0)


def _over(share: float, by: str) -> str:
    found = f"engines find {share:.0%} of what is believed cached, by {by}"
    if share < NOTHING:
        return (
            f"{found}: prefix caching is off, or they are asked for something else than was hashed (model name, chat "
            "template, tokenizer)"
        )
    return (
        f"{found}: their caches are smaller or shared with others, their blocks are large, or only some of them cache"
    )
