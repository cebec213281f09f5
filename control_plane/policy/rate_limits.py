"""`rateLimit`: how many requests one Envoy lets through (Envoy's local rate limit)."""

from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.kinds import Json, Kind
from control_plane.policy.names import HEADER_NAME
from control_plane.policy.nodes import Node, Scalar
from control_plane.policy.reader import Reader
from control_plane.policy.regex import Regex
from control_plane.policy.scalars import Integer
from control_plane.policy.string_match import ANY_TEXT, SOME_TEXT, check_condition
from control_plane.policy.units import Duration

MAX_REQUESTS = 10_000_000
"""Of a limit: more than any gateway serves in its `per`, and small enough for Envoy's uint32 after scaling."""

LIMITED_STATUS = 423
"""What Envoy's filter answers, for `compile.local_replies` to turn into a 429. The picker's own 429 passes the same
mappers, and the filter sets its response flag too late for them: only a status that nobody else uses tells them
apart."""

MAX_RATE_LIMITS = 16
"""Limits in one place; each is looked at for every request."""


@block()
class RateLimitHeader(Block):
    """Which requests a limit counts, by one of their headers."""

    name: str = setting(HEADER_NAME, doc="The header.")
    exact: str | None = setting(ANY_TEXT, default=None, absent=(None, ""), doc="Only requests whose header is this.")
    prefix: str | None = setting(
        SOME_TEXT, default=None, absent=(None, ""), doc="Only requests whose header starts with this."
    )
    regex: str | None = setting(
        Regex(), default=None, absent=(None, ""), doc="Only requests whose header matches this (RE2)."
    )

    @property
    def counts_each_value(self) -> bool:
        """Whether each value has a bucket of its own."""
        return self.exact is None and self.prefix is None and self.regex is None


@dataclass(frozen=True, slots=True)
class _HeaderKind(Kind[RateLimitHeader]):
    """The name of a header, or the block."""

    def read(self, reader: Reader, node: Node, path: str) -> RateLimitHeader:
        if isinstance(node, Scalar) and not node.is_nothing:
            return RateLimitHeader(name=HEADER_NAME.read(reader, node, path))
        return BlockOf(RateLimitHeader).read(reader, node, path)

    def schema(self) -> Json:
        return {"anyOf": [HEADER_NAME.schema(), BlockOf(RateLimitHeader).schema()]}

    def describe(self) -> str:
        return f"{HEADER_NAME.describe()}, or {BlockOf(RateLimitHeader).describe()}"

    def blocks(self) -> Iterator[type[Block]]:
        return BlockOf(RateLimitHeader).blocks()


@block(planned={"tokens": "limits in tokens instead of requests"})
class RateLimit(Block):
    """A token bucket of one Envoy: what does not fit is answered 429, with `retry-after`, before the picker is asked.

    All limits that count a request must have room for it: those of its listener, and those of its rule or model.
    """

    requests: int = setting(Integer(1, MAX_REQUESTS), doc="Requests in each `per`.")
    per_s: float = setting(Duration("50ms", "24h"), default=1.0, doc="The time span; the bucket fills evenly.")
    burst: int | None = setting(
        Integer(1, MAX_REQUESTS),
        default=None,
        absent=(None, "`requests`"),
        doc="Requests that may come at once after a pause.",
    )
    header: RateLimitHeader | None = setting(
        _HeaderKind(),
        default=None,
        absent=(None, "all requests"),
        doc="A header's name: each of its values has a bucket of its own, and requests without the header share one. "
        "With `exact`, `prefix` or `regex`: one bucket for the requests that match; no others are counted.",
    )


def check_rate_limit_header(header: RateLimitHeader, path: str, reader: Reader) -> None:
    """At most one condition."""
    check_condition(header, path, reader)
