"""What the picker answers: a name, a refusal, no opinion, or that the answer is to come.

Values only; `record` keeps how it came about.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Up to three endpoints, best first.

    `first_byte_ms` is this request's limit for a try, None where the request's own timeout is enough. `body` replaces
    the request's body when an alias was used.
    """

    decision_id: str
    endpoints: tuple[str, ...]
    first_byte_ms: int | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The request is answered here, with an HTTP status and an error body."""

    status: int
    error: OpenAIError
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


Answer = Named | Rejected | Unpicked
