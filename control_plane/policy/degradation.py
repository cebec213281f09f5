"""What becomes of requests when the pool that Envoy chose cannot serve them. `docs/degradation.md` has the whole."""

from collections.abc import Iterator
from typing import Any, Final

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.kinds import Json, Kind
from control_plane.policy.nodes import Node, Scalar
from control_plane.policy.reader import Reader
from control_plane.policy.scalars import Choice, Integer, NameOf, Text
from control_plane.policy.units import Duration

MAX_FALLBACKS: Final = 8
"""Of one model: all of them are looked at for a request that nobody can serve, and each is two of Envoy's routes."""

MAX_TOKENS: Final = 1_000_000
"""Of an answer: more than any engine's context."""

MAX_ANSWER: Final = 2_000
"""Characters of a canned answer: it is for people to read."""

UNAVAILABLE: Final = "unavailable"
SATURATED: Final = "saturated"

TOOLS_KEPT: Final = "keep"
TOOLS_OFF: Final = "off"
TOOLS_SKIP: Final = "skip"

ANSWER_STATUSES: Final = (200, 429, 503)
"""Those that Envoy's own error pages leave as they are (`control_plane.compile.local_replies`)."""

_TEXT = Text("a text without control characters but line ends", "[^\\x00-\\x09\\x0b-\\x1f\\x7f]+", MAX_ANSWER)


@block()
class Features(Block):
    """What requests lose on this way."""

    tools: str = setting(
        Choice((TOOLS_KEPT, TOOLS_OFF, TOOLS_SKIP)),
        default=TOOLS_KEPT,
        doc="`off`: the engine is not told of the tools that a request offers, which the label says. `skip`: requests "
        "that offer tools do not go this way.",
    )
    max_tokens: int | None = setting(
        Integer(1, MAX_TOKENS),
        default=None,
        absent=(None, "as the client wants"),
        doc="The longest answer, in tokens; what asks for more, or for no bound, gets this one.",
    )


@block(one_of=("model", "pool"))
class Fallback(Block):
    """Where else requests may go; the text alone is a model's name."""

    model: str = setting(
        NameOf("models"),
        default="",
        absent=("", "none"),
        doc="Another model, in the pools of its own route, the one with the largest weight first; its own `fallback` "
        "is not looked at. Not for embeddings.",
    )
    pool: str = setting(
        NameOf("pools"),
        default="",
        absent=("", "none"),
        doc="Another pool of the same model. Those of the model's own `route` come before all others anyway.",
    )
    features: Features = setting(BlockOf(Features), default=Features(), doc="What requests lose there.")


class _FallbackItem(Kind[Fallback]):
    """A block, or the name of a model."""

    _block = BlockOf(Fallback)
    _name = NameOf("models")

    def read(self, reader: Reader, node: Node, path: str) -> Fallback:
        """The block; a text is short for one with that model."""
        if not isinstance(node, Scalar) or node.is_nothing:
            return self._block.read(reader, node, path)
        return Fallback(model=self._name.read(reader, node, path))

    def schema(self) -> Json:
        """A text or an object."""
        return {"anyOf": [self._name.schema(), self._block.schema()]}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"{self._name.describe()}, or {self._block.describe()}"

    def plain(self, value: Fallback) -> Any:
        """Never asked: no policy has a fallback by default."""
        return value.model

    def blocks(self) -> Iterator[type[Block]]:
        """The long form."""
        return self._block.blocks()


FALLBACKS: Final = ListOf(_FallbackItem(), maximum=MAX_FALLBACKS)


@block()
class Slo(Block):
    """What a client should get; a request that cannot get it goes where it can."""

    first_token_s: float = setting(
        Duration("1ms", "1h"),
        doc="How late the first token may be expected. `kv-aware` alone predicts that, once it has learned enough "
        "from streamed answers.",
    )


@block()
class CannedAnswer(Block):
    """A text for those whom nobody can answer."""

    text: str = setting(_TEXT, doc="What the answer says, as a chat or a completion, streamed where that was asked.")
    status: int = setting(
        Choice(tuple(map(str, ANSWER_STATUSES))),
        default="200",
        doc="`200`: it looks like any answer of a model, but for its label. `429` and `503`: an error object with this "
        "text, and `Retry-After`.",
    )


@block()
class Degradation(Block):
    """When a model's requests are answered otherwise than they were asked, and how."""

    when: tuple[str, ...] = setting(
        ListOf(Choice((UNAVAILABLE, SATURATED))),
        default=(UNAVAILABLE, SATURATED),
        doc="`unavailable`: nobody of the pool may be named, or was able to in the last `recoverAfter`. `saturated`: "
        "it has no place free (`admission` of the pool says when).",
    )
    slo: Slo | None = setting(
        BlockOf(Slo), default=None, absent=(None, "none"), doc="Also where a request could not keep this."
    )
    recover_after_s: float = setting(
        Duration("0ms", "1h"),
        default=10.0,
        doc="How long a pool that was unavailable must be well before it is used again.",
    )
    answer: CannedAnswer | None = setting(
        BlockOf(CannedAnswer),
        default=None,
        absent=(None, "an error with `Retry-After`"),
        doc="The answer to a request that nobody can take.",
    )
