"""Loads of single requests: applications with long system prompts, retrieval of documents, embeddings.

Pure. `Prompts` is steady, `Bursts` the same requests in waves.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from sim.traces.load import Load, Popularity, Session, Turn, asked, geometric, length, number
from sim.traces.texts import Prompt, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts(Load):
    """Applications that each send one long system prompt with a short question behind it.

    The tenant is the application.
    A few prefixes make most of the traffic: the case in which affinity without a load bound overloads one pod.
    """

    kind: ClassVar[str] = "prompts"

    applications: int = number(8, 1)
    zipf: float = number(1.0, 0, 5)
    """How unequal they are: with 1 the first of 8 sends 37 % of the requests."""

    system_tokens: int = number(2_000, 1)
    """Median length of a system prompt: instructions, tools and a few examples."""

    system_sigma: float = number(0.5, 0, 3)
    question_tokens: int = number(150, 1)
    question_sigma: float = number(1.0, 0, 3)
    answer_tokens: int = number(200, 1)
    answer_sigma: float = number(0.6, 0, 3)

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """One request each."""
        lengths = [length(rng, self.system_tokens, self.system_sigma) for _ in range(self.applications)]
        systems = [texts.add(Prompt(), texts.new(), tokens) for tokens in lengths]
        popularity = Popularity(self.applications, self.zipf)
        while True:
            which = popularity.draw(rng)
            question = length(rng, self.question_tokens, self.question_sigma)
            prompt = texts.add(systems[which], texts.new(), question)
            answer = length(rng, self.answer_tokens, self.answer_sigma)
            yield (asked(texts, prompt, answer, 0.0, f"application-{which}")[0],)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts(Prompts):
    """The same requests in waves: a batch job or a crowd comes, and goes again."""

    kind: ClassVar[str] = "bursts"

    on_s: float = number(5.0, 0.001)
    """Mean length of a wave (exponential): longer than a scrape interval, shorter than any scaling up."""

    off_s: float = number(15.0, 0.001)
    """Mean time between two waves (exponential)."""

    idle_share: float = number(0.2, 0, 1)
    """Share of the requests that come between the waves."""

    def starts(self, rng: random.Random, rate: float) -> Iterator[float]:
        """Alternate between two steady rates whose mean over time is `rate`."""
        cycle = self.on_s + self.off_s
        rates = (rate * (1 - self.idle_share) * cycle / self.on_s, rate * self.idle_share * cycle / self.off_s)
        begin = 0.0
        while True:
            for now, lasts in zip(rates, (self.on_s, self.off_s), strict=True):
                end = begin + rng.expovariate(1 / lasts)
                at = begin
                # Without memory: what is left of a gap at the end of a phase may be drawn anew in the next one.
                while now and (at := at + rng.expovariate(now)) < end:
                    yield at
                begin = end


@dataclass(frozen=True, slots=True, kw_only=True)
class Rag(Load):
    """Questions over retrieved documents: instructions, then documents, then the question.

    Documents are found again by popularity, but a block is shared only where all before it is the same: the second
    document counts only behind the same first one.
    """

    kind: ClassVar[str] = "rag"

    documents: int = number(500, 1)
    zipf: float = number(1.0, 0, 5)
    """How unequal they are: with 1 the first of 500 is 15 % of all that is retrieved."""

    retrieved: int = number(3, 1, 1_000)
    """Documents per request; never more than there are."""

    is_sorted: bool = False
    """Whether documents stand in the prompt in a fixed order instead of by relevance (here: by chance): the cheap trick
    that makes prefixes meet."""

    document_tokens: int = number(1_000, 1)
    """Median length of a document."""

    document_sigma: float = number(0.6, 0, 3)
    system_tokens: int = number(300, 0)
    question_tokens: int = number(50, 1)
    question_sigma: float = number(0.7, 0, 3)
    answer_tokens: int = number(150, 1)
    answer_sigma: float = number(0.6, 0, 3)

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """One request each."""
        system = texts.add(Prompt(), texts.new(), self.system_tokens)
        library = [(texts.new(), length(rng, self.document_tokens, self.document_sigma)) for _ in range(self.documents)]
        popularity = Popularity(self.documents, self.zipf)
        while True:
            prompt = system
            for which in self._found(rng, popularity):
                prompt = texts.add(prompt, *library[which])
            prompt = texts.add(prompt, texts.new(), length(rng, self.question_tokens, self.question_sigma))
            answer = length(rng, self.answer_tokens, self.answer_sigma)
            yield (asked(texts, prompt, answer, 0.0)[0],)

    def _found(self, rng: random.Random, popularity: Popularity) -> list[int]:
        """Draw different documents; after many draws of known ones, as with a steep popularity, fewer."""
        found: dict[int, None] = {}
        for _ in range(20 * self.retrieved):
            found[popularity.draw(rng)] = None
            if len(found) == min(self.retrieved, self.documents):
                break
        return sorted(found) if self.is_sorted else list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings(Load):
    """Texts to embed: prefill only, nothing shared, nothing streamed; several parts of one document at a time."""

    kind: ClassVar[str] = "embeddings"

    batch: int = number(4, 1, 1_000)
    """Mean number of requests that come at the same instant (geometric): a document is indexed in parts."""

    text_tokens: int = number(300, 1)
    text_sigma: float = number(0.6, 0, 3)

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """One document each."""
        while True:
            yield tuple(self._part(rng, texts) for _ in range(geometric(rng, self.batch)))

    def _part(self, rng: random.Random, texts: Texts) -> Turn:
        prompt = texts.add(Prompt(), texts.new(), length(rng, self.text_tokens, self.text_sigma))
        # One token of output is what an engine model needs to call a request done.
        return replace(asked(texts, prompt, 1, 0.0)[0], answer_blocks=(), stream=False)
