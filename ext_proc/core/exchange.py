"""One ext_proc stream as a state machine: a message of Envoy in, the answers to send out. Pure.

Envoy opens one stream per HTTP request. Two shapes of it are served (docs/life_of_a_request.md):

    one-message:   request_body (whole body, attributes)                → pick
    two-message:   request_headers (attributes) → continue;  request_body (whole body) → pick

In either, the pick may have to wait for a place: then Envoy is told to be patient, and whoever holds the stream hands
in `Decided` once the answer is there. A stream that closes before has `Abandon` as its last action.

    >>> exchange = Exchange(decide=picker_decides)
    >>> exchange.handle(RequestBody(body=b"{...}", context=RequestFacts(path="/v1/completions")))
    (Pick(message=<Message.REQUEST_BODY>, named=Named(...), is_length_needed=False),)

Whoever holds the stream must hand in `StreamClosed` when it is over, however it ended: only then is the reservation
that came with the pick given back. Handing it in twice is harmless.

Rules: `envoy/service/ext_proc/v3/external_processor.proto` (each message is answered exactly once, nothing follows an
immediate response) and what Envoy 1.40 does in the buffered body modes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, auto
from typing import Final

from ext_proc.core.decision import Answer, Canned, Named, Rejected, Unpicked, Waiting
from ext_proc.core.request import RequestFacts

Decide = Callable[[RequestFacts], Answer | Waiting]

# How much longer than the longest wait Envoy is asked to be patient: our own refusal is to come first.
PATIENCE_S: Final = 1.0


EXPLAIN_HEADER: Final = "x-kvpilot-explain"
"""A request header; `1` asks for the decision's id. Envoy passes it on where the policy lets clients ask."""


class Code(IntEnum):
    """The gRPC status codes that end a stream with an error (their numbers are gRPC's)."""

    INVALID_ARGUMENT = 3
    UNIMPLEMENTED = 12


class ExchangeError(Exception):
    """What came cannot be answered: the stream ends with this gRPC status, and Envoy goes on without a pick."""

    def __init__(self, code: Code, text: str) -> None:
        """`text` is for the operator who reads Envoy's log."""
        super().__init__(text)
        self.code = code


class BodyMode(Enum):
    """How Envoy sends bodies (`ProcessingMode.BodySendMode`)."""

    NONE = auto()
    STREAMED = auto()
    BUFFERED = auto()
    BUFFERED_PARTIAL = auto()
    FULL_DUPLEX_STREAMED = auto()
    GRPC = auto()


class Message(Enum):
    """A kind of message that wants an answer of the same kind."""

    REQUEST_HEADERS = auto()
    REQUEST_BODY = auto()
    REQUEST_TRAILERS = auto()
    RESPONSE_HEADERS = auto()
    RESPONSE_BODY = auto()
    RESPONSE_TRAILERS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The body modes that Envoy announces in the first message of a stream."""

    request_body: BodyMode = BodyMode.BUFFERED
    response_body: BodyMode = BodyMode.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeaders:
    """The request's headers; with `end_of_stream` no body follows."""

    context: RequestFacts
    end_of_stream: bool = False
    modes: Modes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """The request's body. `context` is None where the headers brought it."""

    body: bytes
    end_of_stream: bool = True
    context: RequestFacts | None = None
    modes: Modes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherMessage:
    """A message that is of no use here but waits for its answer (trailers, anything of the response)."""

    message: Message
    modes: Modes | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that wants no answer: of a kind we do not know, or sent for observation only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """The stream is over; `by_us` when the picker closed it while the HTTP request goes on."""

    by_us: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """The answer that the request has been waiting for; `Waiting` where it has to wait once more."""

    answer: Answer | Waiting


Input = RequestHeaders | RequestBody | OtherMessage | Ignored | StreamClosed | Decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Answer: go on with this message as it is."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Answer: go on, to the endpoints named.

    `is_length_needed`: a new body needs its `content-length` set with it, because Envoy already holds the headers.
    `is_told`: the client wants to know the decision's id, and Envoy passed the header on by which it says so.
    """

    message: Message
    named: Named
    is_length_needed: bool = False
    is_told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer: Envoy replies to the client with this at once, and closes the stream."""

    rejected: Rejected | Canned


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The stream that held a decision's reservation is over."""

    decision_id: str
    closed_by_us: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Answer: the answer to this message comes within `for_s` seconds (Envoy's `override_message_timeout`).

    Envoy heeds the first one of a message only. 0: within its usual patience, of which it is not told.
    """

    ticket: int
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Nobody waits for the answer of this ticket any more."""

    ticket: int


Action = Continue | Pick | Refuse | Release | Hold | Abandon

_NOTHING: Final[tuple[Action, ...]] = ()
_SERVED_REQUEST_MODES: Final = (BodyMode.NONE, BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL)
# In these, an answer must carry the body back in pieces: a plain one would lose it.
_ECHOING_MODES: Final = (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC)


class State(Enum):
    """How far an exchange has come."""

    NEW = auto()
    """Nothing of the request was seen."""
    AWAITING_BODY = auto()
    """The headers were answered; the body comes next."""
    WAITING = auto()
    """The request waits for its answer."""
    ANSWERED = auto()
    """The request has its answer: a pick, or none."""
    REFUSED = auto()
    """An immediate response was sent; Envoy closes."""
    CLOSED = auto()
    """The stream is over."""


class Exchange:
    """One stream.

    Mutable: the state, the request's context, the decision held or the ticket waited with. Single writer: `handle`.
    """

    __slots__ = ("_context", "_decide", "_decision_id", "_is_told", "_mode", "_ticket", "_waiting_for", "state")

    def __init__(self, decide: Decide) -> None:
        """`decide` is asked once per stream at most, and reserves what it names."""
        self.state = State.NEW
        self._decide = decide
        self._context: RequestFacts | None = None
        self._mode = BodyMode.BUFFERED
        self._decision_id = ""
        self._is_told = False
        self._ticket = 0
        self._waiting_for = Message.REQUEST_BODY

    @property
    def is_answered(self) -> bool:
        """Whether the request has all it needs from us, so that the stream may be closed."""
        return self.state in (State.ANSWERED, State.REFUSED, State.CLOSED)

    def handle(self, message: Input) -> tuple[Action, ...]:
        """The actions that follow from `message`; raises `ExchangeError` where the protocol forbids it."""
        return _TRANSITIONS[self.state, type(message)](self, message)

    def _on_headers(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, RequestHeaders)
        self._learn(message.modes)
        self._context = message.context
        if message.end_of_stream:
            return self._judge(Message.REQUEST_HEADERS, message.context, b"")
        self.state = State.ANSWERED if self._mode is BodyMode.NONE else State.AWAITING_BODY
        return (Continue(message=Message.REQUEST_HEADERS),)

    def _on_body(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, RequestBody)
        self._learn(message.modes)
        if self._mode is BodyMode.BUFFERED_PARTIAL and not message.end_of_stream:
            # The rest passes by unseen: half a JSON text is no reason to refuse the request.
            self.state = State.ANSWERED
            return (Continue(message=Message.REQUEST_BODY),)
        context = self._context or message.context or RequestFacts()
        return self._judge(Message.REQUEST_BODY, context, message.body)

    def _judge(self, kind: Message, context: RequestFacts, body: bytes) -> tuple[Action, ...]:
        self._is_told = context.headers.get(EXPLAIN_HEADER) == "1"
        answer = self._decide(replace(context, body=body))
        return self._told(kind, answer)

    def _told(self, kind: Message, answer: Answer | Waiting) -> tuple[Action, ...]:
        if not isinstance(answer, Waiting):
            return self._answer(kind, answer)
        self.state = State.WAITING
        self._ticket, self._waiting_for = answer.ticket, kind
        # What takes a moment only is within Envoy's usual patience.
        return (Hold(ticket=answer.ticket, for_s=answer.for_s + PATIENCE_S if answer.for_s else 0.0),)

    def _answer(self, kind: Message, answer: Answer) -> tuple[Action, ...]:
        if isinstance(answer, Rejected | Canned):
            self.state = State.REFUSED
            return (Refuse(rejected=answer),)
        self.state = State.ANSWERED
        if isinstance(answer, Unpicked):
            return (Continue(message=kind),)
        self._decision_id = answer.decision_id
        is_length_needed = self._context is not None
        return (Pick(message=kind, named=answer, is_length_needed=is_length_needed, is_told=self._is_told),)

    def _on_other(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, OtherMessage)
        self._learn(message.modes)
        return (Continue(message=message.message),)

    def _on_nothing(self, message: Input) -> tuple[Action, ...]:
        return _NOTHING

    def _on_decided(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, Decided)
        return self._told(self._waiting_for, message.answer)

    def _on_late_answer(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, Decided)
        if isinstance(message.answer, Named):
            return (Release(decision_id=message.answer.decision_id),)
        if isinstance(message.answer, Waiting):
            return (Abandon(ticket=message.answer.ticket),)
        return _NOTHING

    def _on_repetition(self, message: Input) -> tuple[Action, ...]:
        what = "headers" if isinstance(message, RequestHeaders) else "body"
        raise ExchangeError(Code.INVALID_ARGUMENT, f"the request's {what} came twice or too late on one stream")

    def _on_closed(self, message: Input) -> tuple[Action, ...]:
        assert isinstance(message, StreamClosed)
        self.state = State.CLOSED
        if not self._decision_id:
            return _NOTHING
        return (Release(decision_id=self._decision_id, closed_by_us=message.by_us),)

    def _on_gave_up(self, message: Input) -> tuple[Action, ...]:
        self.state = State.CLOSED
        return (Abandon(ticket=self._ticket),)

    def _learn(self, modes: Modes | None) -> None:
        if modes is None:  # only the first message has them
            return
        if modes.request_body not in _SERVED_REQUEST_MODES:
            raise ExchangeError(
                Code.UNIMPLEMENTED,
                f"this ext_proc server needs request_body_mode BUFFERED; Envoy sends {modes.request_body.name}",
            )
        if modes.response_body in _ECHOING_MODES:
            raise ExchangeError(
                Code.UNIMPLEMENTED,
                f"this ext_proc server needs response_body_mode NONE; Envoy sends {modes.response_body.name}",
            )
        self._mode = modes.request_body


_Transition = Callable[[Exchange, Input], tuple[Action, ...]]

# The whole machine: what each input means in each state.
_TRANSITIONS: Final[Mapping[tuple[State, type[Input]], _Transition]] = {
    (State.NEW, RequestHeaders): Exchange._on_headers,
    (State.NEW, RequestBody): Exchange._on_body,
    (State.NEW, OtherMessage): Exchange._on_other,
    (State.NEW, Ignored): Exchange._on_nothing,
    (State.NEW, StreamClosed): Exchange._on_closed,
    (State.NEW, Decided): Exchange._on_late_answer,
    (State.AWAITING_BODY, RequestHeaders): Exchange._on_repetition,
    (State.AWAITING_BODY, RequestBody): Exchange._on_body,
    (State.AWAITING_BODY, OtherMessage): Exchange._on_other,
    (State.AWAITING_BODY, Ignored): Exchange._on_nothing,
    (State.AWAITING_BODY, StreamClosed): Exchange._on_closed,
    (State.AWAITING_BODY, Decided): Exchange._on_late_answer,
    (State.WAITING, RequestHeaders): Exchange._on_repetition,
    (State.WAITING, RequestBody): Exchange._on_repetition,
    (State.WAITING, OtherMessage): Exchange._on_other,
    (State.WAITING, Ignored): Exchange._on_nothing,
    (State.WAITING, StreamClosed): Exchange._on_gave_up,
    (State.WAITING, Decided): Exchange._on_decided,
    (State.ANSWERED, RequestHeaders): Exchange._on_repetition,
    (State.ANSWERED, RequestBody): Exchange._on_repetition,
    (State.ANSWERED, OtherMessage): Exchange._on_other,
    (State.ANSWERED, Ignored): Exchange._on_nothing,
    (State.ANSWERED, StreamClosed): Exchange._on_closed,
    (State.ANSWERED, Decided): Exchange._on_late_answer,
    # What crossed the immediate response on its way needs no answer: Envoy is no longer listening.
    (State.REFUSED, RequestHeaders): Exchange._on_nothing,
    (State.REFUSED, RequestBody): Exchange._on_nothing,
    (State.REFUSED, OtherMessage): Exchange._on_nothing,
    (State.REFUSED, Ignored): Exchange._on_nothing,
    (State.REFUSED, StreamClosed): Exchange._on_closed,
    (State.REFUSED, Decided): Exchange._on_late_answer,
    (State.CLOSED, RequestHeaders): Exchange._on_nothing,
    (State.CLOSED, RequestBody): Exchange._on_nothing,
    (State.CLOSED, OtherMessage): Exchange._on_nothing,
    (State.CLOSED, Ignored): Exchange._on_nothing,
    (State.CLOSED, StreamClosed): Exchange._on_nothing,
    (State.CLOSED, Decided): Exchange._on_late_answer,
}
