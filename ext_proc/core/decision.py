"""What the picker answers: a name, a refusal, no opinion, or that the answer is to come.

Values only; `record` keeps how it came about.
"""

from dataclasses import dataclass
from enum import StrEnum

# Envoy follows the list on retries; beyond two retries its own policy does as well as a stale preference.
MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIError:
    """The error object of OpenAI's API reference, as its clients expect it."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """The JSON body."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class Level(StrEnum):
    """How far an answer is from what was asked for, from the least to the most."""

    POOL = "pool"
    """The model itself, in another pool."""
    MODEL = "model"
    """Another model."""
    LATER = "later"
    """The model itself, but nobody had a place at once."""
    ANSWER = "answer"
    """A text of the policy."""
    REFUSED = "refused"
    """An error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """That, and how, a request is not answered as it was asked (`ext_proc.core.detours`).

    `model` is the one that was asked for, `to` the one that answers, or the pool at the level of these. `pool` and
    `cluster` are where Envoy has to route it, empty where it is its own route. `features` are what the request lost.
    """

    level: Level
    model: str
    why: str
    to: str = ""
    pool: str = ""
    cluster: str = ""
    features: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the client is told: the model that answers, else the level, with its pool if it is that."""
        if self.level is Level.MODEL:
            return self.to
        return f"{self.level}/{self.to}" if self.level is Level.POOL else str(self.level)

    def as_dict(self) -> dict[str, str | list[str]]:
        """JSON values."""
        return {"level": str(self.level), "to": self.to, "why": self.why, "features": list(self.features)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Up to three endpoints, best first.

    `first_byte_ms` is this request's limit for a try, None where the request's own timeout is enough. `body` replaces
    the request's body when an alias was used, or the request was `degraded`.
    """

    decision_id: str
    endpoints: tuple[str, ...]
    first_byte_ms: int | None = None
    body: bytes | None = None
    degraded: Degraded | None = None

    @property
    def retries(self) -> int | None:
        """How often the request may be tried again at most; None: as often as the policy says.

        With nobody else to go to, every try is for the same endpoint. One more makes good for a connection that broke;
        further ones would have it compute again what it has failed at.
        """
        return 1 if len(self.endpoints) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The request is answered here, with an HTTP status and an error body."""

    status: int
    error: OpenAIError
    retry_after_s: int | None = None
    degraded: Degraded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """The request is answered here, with a text of the policy (`ext_proc.core.canned`)."""

    status: int
    body: bytes
    content_type: str
    degraded: Degraded
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Unpicked:
    """No opinion: Envoy's route and its own load balancing decide."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is no place yet: the answer comes under this `ticket`, after `for_s` seconds at the latest.

    0: in a moment, of which Envoy need not be told.
    """

    ticket: int
    for_s: float


Answer = Named | Rejected | Canned | Unpicked
