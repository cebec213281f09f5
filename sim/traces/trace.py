"""A trace: requests with their times, lengths and shared prefixes, and nothing of what they said.

Pure values. A prompt is known by the ids of its whole blocks: two prompts share their first k blocks exactly when their
first k ids are equal. Example:

    trace = Trace("two", 512, (TraceRequest(0.0, (1, 2), 1100, 20), TraceRequest(1.5, (1, 3), 1030, 5)))
    trace.faster(2).requests[1].at_s  # 0.75
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

# Finer than any clock that a trace is written with; rounding to it keeps replays equal on machines whose mathematical
# libraries differ in the last bit.
TIME_DIGITS = 6


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request. Raises ValueError when its numbers contradict each other."""

    at_s: float
    """When it arrives, in seconds since the first request of its trace."""

    blocks: tuple[int, ...]
    """Ids of the whole blocks of the prompt, from its start. An equal id means equal content after equal predecessors,
    for the same model and cache salt; an id says nothing else. What is left behind the last whole block has no id."""

    prompt_tokens: int
    output_tokens: int

    session: str = ""
    """Which conversation or agent run it belongs to; "" where the source does not say."""

    tenant: str = ""
    model: str = ""
    stream: bool = True

    answer_blocks: tuple[int, ...] = ()
    """Ids of the blocks that the answer completes, where the source knows them: the first one begins in the prompt's
    last, partial block. A later turn of the same conversation finds them, as it does in a real engine."""

    def __post_init__(self) -> None:
        """Refuse what no engine could serve."""
        if self.at_s < 0:
            raise ValueError(f"a request cannot arrive at {self.at_s} s, before its trace begins")
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError("a request needs at least one prompt token and one output token")


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival, the first at 0 s. Raises ValueError when they are not, or have too many blocks."""

    name: str
    block_tokens: int
    """Tokens in each block of every request."""

    requests: tuple[TraceRequest, ...]

    has_coarse_clock: bool = False
    """Whether equal times come of the source's clock, and not of requests that came together: see `spread`."""

    def __post_init__(self) -> None:
        """Hold the order and the sizes that everything downstream relies on."""
        if self.block_tokens < 1:
            raise ValueError("a block has at least one token")
        if self.requests and self.requests[0].at_s != 0:
            raise ValueError("the first request of a trace arrives at 0 s")
        if any(later.at_s < earlier.at_s for earlier, later in pairwise(self.requests)):
            raise ValueError("the requests of a trace are ordered by their time of arrival")
        for request in self.requests:
            if len(request.blocks) * self.block_tokens > request.prompt_tokens:
                raise ValueError(f"{len(request.blocks)} blocks of {self.block_tokens} tokens exceed the prompt")

    def __len__(self) -> int:
        """Count the requests."""
        return len(self.requests)

    @property
    def duration_s(self) -> float:
        """Seconds from the first arrival to the last."""
        return self.requests[-1].at_s if self.requests else 0.0

    @property
    def rate(self) -> float:
        """Requests per second over the duration; 0 when all arrive at once."""
        return len(self.requests) / self.duration_s if self.duration_s else 0.0

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all requests."""
        return sum(request.prompt_tokens for request in self.requests)

    @property
    def sharing_rate(self) -> float:
        """Share of the prompt tokens, 0 to 1, that one infinite cache would have when each request arrives.

        No router can reach more than this. Computed on every call, in one pass over all blocks.
        """
        total = self.prompt_tokens
        return sum(self.shared_tokens()) / total if total else 0.0

    def shared_tokens(self) -> Iterator[int]:
        """Per request, the prompt tokens that earlier requests (and their answers, where known) have in common with it.

        Requests of one instant are taken in order, as if each were there before the next.
        """
        seen: set[int] = set()
        for request in self.requests:
            run = 0
            for block in request.blocks:
                if block not in seen:
                    break
                run += 1
            seen.update(request.blocks[run:])
            seen.update(request.answer_blocks)
            yield run * self.block_tokens

    def faster(self, factor: float) -> "Trace":
        """Return the same requests at `factor` times the rate. Raises ValueError unless `factor` is above 0."""
        if not factor > 0:
            raise ValueError("a rate can only be multiplied by a positive number")
        return self._at(tuple(round(request.at_s / factor, TIME_DIGITS) for request in self.requests))

    def cut(self, count: int) -> "Trace":
        """Return the first `count` requests, or all if there are fewer."""
        return replace(self, requests=self.requests[: max(0, count)])

    def spread(self) -> "Trace":
        """Return the same requests with those of one instant spread evenly until the next instant.

        For sources whose clock is coarse: the Mooncake trace has a clock of 3 s, and ten arrivals at the same moment
        are an artefact that punishes who decides on old numbers. Requests of the last instant get the gap before it.
        """
        times = [request.at_s for request in self.requests]
        starts = sorted(set(times))
        gaps = {earlier: later - earlier for earlier, later in pairwise(starts)}
        if len(starts) > 1:
            gaps[starts[-1]] = starts[-1] - starts[-2]
        counts: dict[float, int] = {}
        for at in times:
            counts[at] = counts.get(at, 0) + 1
        done: dict[float, int] = {}
        spread = []
        for at in times:
            index = done.get(at, 0)
            done[at] = index + 1
            spread.append(round(at + gaps.get(at, 0.0) * index / counts[at], TIME_DIGITS))
        return replace(self._at(tuple(spread)), has_coarse_clock=False)

    def _at(self, times: tuple[float, ...]) -> "Trace":
        moved = tuple(replace(request, at_s=at) for request, at in zip(self.requests, times, strict=True))
        return replace(self, requests=moved)
