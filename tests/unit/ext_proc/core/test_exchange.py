"""The exchange: one ext_proc stream, as dialogues, and as a machine that no order of messages may break."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.decision import (
    Answer,
    Canned,
    Degraded,
    Level,
    Named,
    OpenAIError,
    Rejected,
    Unpicked,
    Waiting,
)
from ext_proc.core.exchange import (
    _TRANSITIONS,
    EXPLAIN_HEADER,
    PATIENCE_S,
    Abandon,
    Action,
    BodyMode,
    Code,
    Continue,
    Decided,
    Exchange,
    ExchangeError,
    Hold,
    Ignored,
    Input,
    Message,
    Modes,
    OtherMessage,
    Pick,
    Refuse,
    Release,
    RequestBody,
    RequestHeaders,
    State,
    StreamClosed,
)
from ext_proc.core.request import RequestFacts

NAMED = Named(decision_id="d1", endpoints=("10.0.0.1:8000", "10.0.0.2:8000"), first_byte_ms=30_000)
REJECTED = Rejected(status=429, error=OpenAIError(message="full", type="rate_limit_error"), retry_after_s=1)
CANNED = Canned(
    status=200,
    body=b"{}",
    content_type="application/json",
    degraded=Degraded(level=Level.ANSWER, model="m", why="no_endpoint"),
)
UNPICKED = Unpicked(reason="not an inference path")

CONTEXT = RequestFacts(
    path="/v1/completions", route="model/m", cluster="pool/p", session="s", content_type="application/json",
    request_id="r",
)  # fmt: skip
HEADERS = RequestHeaders(context=CONTEXT, modes=Modes())
LAST_HEADERS = RequestHeaders(context=CONTEXT, end_of_stream=True)
BODY = RequestBody(body=b"{}")
FIRST_BODY = RequestBody(body=b"{}", context=CONTEXT, modes=Modes())
TRAILERS = OtherMessage(message=Message.REQUEST_TRAILERS)
RESPONSE_HEADERS = OtherMessage(message=Message.RESPONSE_HEADERS)

CONTINUE_HEADERS = Continue(message=Message.REQUEST_HEADERS)
CONTINUE_BODY = Continue(message=Message.REQUEST_BODY)


class Judge:
    """Stands for the picker: gives the same answer to everything and remembers what it was asked."""

    def __init__(self, answer: Answer | Waiting) -> None:
        self.answer = answer
        self.asked: list[RequestFacts] = []

    def __call__(self, facts: RequestFacts) -> Answer | Waiting:
        self.asked.append(facts)
        return self.answer


def play(answer: Answer, *inputs: Input) -> list[Action]:
    """All actions of one stream that receives `inputs`."""
    exchange = Exchange(Judge(answer))
    return [action for each in inputs for action in exchange.handle(each)]


@pytest.mark.parametrize(
    ("answer", "inputs", "actions"),
    [
        (NAMED, [FIRST_BODY], [Pick(message=Message.REQUEST_BODY, named=NAMED)]),
        (
            NAMED,
            [HEADERS, BODY],
            [CONTINUE_HEADERS, Pick(message=Message.REQUEST_BODY, named=NAMED, is_length_needed=True)],
        ),
        (UNPICKED, [FIRST_BODY], [CONTINUE_BODY]),
        (UNPICKED, [HEADERS, BODY], [CONTINUE_HEADERS, CONTINUE_BODY]),
        (UNPICKED, [LAST_HEADERS], [CONTINUE_HEADERS]),
        (NAMED, [LAST_HEADERS], [Pick(message=Message.REQUEST_HEADERS, named=NAMED, is_length_needed=True)]),
        (REJECTED, [FIRST_BODY], [Refuse(rejected=REJECTED)]),
        (REJECTED, [HEADERS, BODY], [CONTINUE_HEADERS, Refuse(rejected=REJECTED)]),
        (REJECTED, [FIRST_BODY, TRAILERS], [Refuse(rejected=REJECTED)]),
        (CANNED, [FIRST_BODY, TRAILERS], [Refuse(rejected=CANNED)]),
        (CANNED, [HEADERS, BODY], [CONTINUE_HEADERS, Refuse(rejected=CANNED)]),
        (
            UNPICKED,
            [HEADERS, BODY, TRAILERS, RESPONSE_HEADERS],
            [
                CONTINUE_HEADERS,
                CONTINUE_BODY,
                Continue(message=Message.REQUEST_TRAILERS),
                Continue(message=Message.RESPONSE_HEADERS),
            ],
        ),
        (NAMED, [Ignored(), Ignored()], []),
        (NAMED, [RESPONSE_HEADERS], [Continue(message=Message.RESPONSE_HEADERS)]),
    ],
)
def test_dialogues(answer: Answer, inputs: list[Input], actions: list[Action]) -> None:
    """Each message is answered once, in its own kind; nothing follows an immediate response."""
    assert play(answer, *inputs) == actions


def test_facts_of_one_message() -> None:
    """The picker is asked with the body and all that the attributes told."""
    judge = Judge(NAMED)
    Exchange(judge).handle(FIRST_BODY)
    assert judge.asked == [
        RequestFacts(
            body=b"{}", path="/v1/completions", method="POST", route="model/m", cluster="pool/p", session="s",
            content_type="application/json", request_id="r",
        )
    ]  # fmt: skip


def test_facts_of_two_messages() -> None:
    """What the headers told is still known when the body comes without attributes."""
    judge = Judge(NAMED)
    exchange = Exchange(judge)
    exchange.handle(HEADERS)
    exchange.handle(BODY)
    assert [(facts.cluster, facts.body) for facts in judge.asked] == [("pool/p", b"{}")]


def test_body_without_any_context() -> None:
    """An Envoy that was not asked for attributes still gets an answer; the picker sees empty facts."""
    judge = Judge(UNPICKED)
    assert Exchange(judge).handle(BODY) == (CONTINUE_BODY,)
    assert judge.asked == [RequestFacts(body=b"{}")]


def test_release_at_the_end() -> None:
    """The end of the stream gives the reservation back, once, however often it is reported."""
    released = [Release(decision_id="d1")]
    assert play(NAMED, FIRST_BODY, StreamClosed(), StreamClosed())[1:] == released


def test_end_by_us_is_told() -> None:
    """A stream that we closed says so: the HTTP request goes on."""
    assert play(NAMED, FIRST_BODY, StreamClosed(by_us=True), StreamClosed())[1:] == [
        Release(decision_id="d1", closed_by_us=True)
    ]


@pytest.mark.parametrize("answer", [UNPICKED, REJECTED, CANNED])
def test_nothing_to_release(answer: Answer) -> None:
    """Without a pick there is no reservation to give back."""
    assert len(play(answer, FIRST_BODY, StreamClosed())) == 1


def test_client_gone_before_the_body() -> None:
    """A client that leaves between headers and body costs nothing: the picker was never asked."""
    judge = Judge(NAMED)
    exchange = Exchange(judge)
    exchange.handle(HEADERS)
    assert exchange.handle(StreamClosed()) == ()
    assert judge.asked == []


@pytest.mark.parametrize(
    "inputs", [[HEADERS, HEADERS], [FIRST_BODY, HEADERS], [FIRST_BODY, BODY], [HEADERS, BODY, BODY]]
)
def test_repeated_messages(inputs: list[Input]) -> None:
    """Headers or a body that come twice or too late are a protocol error, and never a second pick."""
    exchange = Exchange(judge := Judge(NAMED))
    for each in inputs[:-1]:
        exchange.handle(each)
    with pytest.raises(ExchangeError, match="twice or too late") as raised:
        exchange.handle(inputs[-1])
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert len(judge.asked) <= 1


def test_reservation_survives_a_protocol_error() -> None:
    """The reservation is given back at the stream's end also when an error came between."""
    exchange = Exchange(Judge(NAMED))
    exchange.handle(FIRST_BODY)
    with pytest.raises(ExchangeError):
        exchange.handle(FIRST_BODY)
    assert exchange.handle(StreamClosed()) == (Release(decision_id="d1"),)


@pytest.mark.parametrize("mode", [BodyMode.STREAMED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC])
@pytest.mark.parametrize("first", [HEADERS, FIRST_BODY])
def test_unserved_request_modes(mode: BodyMode, first: RequestHeaders | RequestBody) -> None:
    """A body mode that sends pieces is refused by name, before anything is picked."""
    message: Input
    if isinstance(first, RequestHeaders):
        message = RequestHeaders(context=CONTEXT, modes=Modes(request_body=mode))
    else:
        message = RequestBody(body=b"{}", modes=Modes(request_body=mode))
    judge = Judge(NAMED)
    with pytest.raises(ExchangeError, match=f"needs request_body_mode BUFFERED; Envoy sends {mode.name}") as raised:
        Exchange(judge).handle(message)
    assert raised.value.code is Code.UNIMPLEMENTED
    assert judge.asked == []


@pytest.mark.parametrize("mode", [BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC])
def test_unserved_response_modes(mode: BodyMode) -> None:
    """A mode in which our plain answer would lose the response is refused by name, in any first message."""
    modes = Modes(response_body=mode)
    messages: tuple[RequestBody | RequestHeaders | OtherMessage, ...] = (FIRST_BODY, HEADERS, RESPONSE_HEADERS)
    for message in messages:
        with pytest.raises(ExchangeError, match=mode.name):
            Exchange(Judge(NAMED)).handle(replace(message, modes=modes))


def test_mode_none() -> None:
    """With body mode NONE no body will come, so the headers' answer is all that Envoy needs."""
    exchange = Exchange(Judge(NAMED))
    headers = RequestHeaders(context=CONTEXT, modes=Modes(request_body=BodyMode.NONE))
    assert exchange.handle(headers) == (CONTINUE_HEADERS,)
    assert exchange.is_answered


def test_partial_body() -> None:
    """Half a body is not judged: the request goes on without a pick."""
    modes = Modes(request_body=BodyMode.BUFFERED_PARTIAL)
    judge = Judge(REJECTED)
    exchange = Exchange(judge)
    half = RequestBody(body=b'{"model"', end_of_stream=False, context=CONTEXT, modes=modes)
    assert exchange.handle(half) == (CONTINUE_BODY,)
    assert judge.asked == []
    whole = RequestBody(body=b"{}", context=CONTEXT, modes=modes)
    assert play(NAMED, whole) == [Pick(message=Message.REQUEST_BODY, named=NAMED)]


def test_buffered_body_before_trailers() -> None:
    """BUFFERED sends the whole body without `end_of_stream` when trailers follow; it is judged all the same."""
    body = RequestBody(body=b"{}", end_of_stream=False, context=CONTEXT, modes=Modes())
    assert play(NAMED, body, TRAILERS) == [
        Pick(message=Message.REQUEST_BODY, named=NAMED),
        Continue(message=Message.REQUEST_TRAILERS),
    ]


@pytest.mark.parametrize(
    ("inputs", "answered"),
    [([], False), ([HEADERS], False), ([HEADERS, BODY], True), ([FIRST_BODY], True), ([LAST_HEADERS], True)],
)
@pytest.mark.parametrize("answer", [NAMED, UNPICKED, REJECTED])
def test_is_answered(inputs: list[Input], answered: bool, answer: Answer) -> None:
    """A stream may be closed by us exactly from the moment that the request has its answer."""
    exchange = Exchange(Judge(answer))
    for each in inputs:
        exchange.handle(each)
    assert exchange.is_answered is answered


def test_table_is_total() -> None:
    """Every input has a meaning in every state."""
    kinds = Input.__args__
    assert set(_TRANSITIONS) == {(state, kind) for state in State for kind in kinds}


WAITING = Waiting(7, 30.0)
HOLD = Hold(ticket=7, for_s=30.0 + PATIENCE_S)


def test_a_pick_that_has_to_wait() -> None:
    """Envoy is told to be patient, a little longer than the wait may be; the answer is of the message that waited."""
    exchange = Exchange(Judge(WAITING))
    assert exchange.handle(FIRST_BODY) == (HOLD,)
    assert [exchange.is_answered] == [False]
    assert exchange.handle(Decided(NAMED)) == (Pick(message=Message.REQUEST_BODY, named=NAMED),)
    assert exchange.is_answered
    assert exchange.handle(StreamClosed()) == (Release(decision_id="d1"),)


def test_a_moment_and_then_a_wait() -> None:
    """Of a moment Envoy is not told; what comes of it may be a wait, and an end of the stream gives its ticket back."""
    exchange = Exchange(Judge(Waiting(-1, 0.0)))
    assert exchange.handle(FIRST_BODY) == (Hold(ticket=-1, for_s=0.0),)
    assert exchange.handle(Decided(WAITING)) == (HOLD,)
    assert exchange.handle(StreamClosed()) == (Abandon(ticket=7),)
    assert exchange.handle(Decided(WAITING)) == (Abandon(ticket=7),)


@pytest.mark.parametrize(
    ("answer", "action"), [(REJECTED, Refuse(rejected=REJECTED)), (UNPICKED, CONTINUE_BODY)], ids=["refused", "left"]
)
def test_a_wait_that_ends_without_a_pick(answer: Answer, action: Action) -> None:
    """A refusal, or no opinion, ends the wait too; nothing was reserved."""
    exchange = Exchange(Judge(WAITING))
    exchange.handle(FIRST_BODY)
    assert exchange.handle(Decided(answer)) == (action,)
    assert exchange.handle(StreamClosed()) == ()


def test_headers_alone_may_wait() -> None:
    """A request without a body waits with its headers; one with headers and body needs its length with a new body."""
    exchange = Exchange(Judge(WAITING))
    assert exchange.handle(LAST_HEADERS) == (HOLD,)
    assert exchange.handle(Decided(NAMED)) == (
        Pick(message=Message.REQUEST_HEADERS, named=NAMED, is_length_needed=True),
    )
    exchange = Exchange(Judge(WAITING))
    exchange.handle(HEADERS)
    exchange.handle(BODY)
    assert exchange.handle(Decided(NAMED)) == (Pick(message=Message.REQUEST_BODY, named=NAMED, is_length_needed=True),)


def test_a_client_that_leaves_while_it_waits() -> None:
    """Its ticket is given back, once; an answer that was decided all the same gives back what it reserved."""
    exchange = Exchange(Judge(WAITING))
    exchange.handle(FIRST_BODY)
    assert exchange.handle(StreamClosed()) == (Abandon(ticket=7),)
    assert exchange.handle(StreamClosed()) == ()
    assert exchange.handle(Decided(NAMED)) == (Release(decision_id="d1"),)
    assert exchange.handle(Decided(UNPICKED)) == ()


def test_what_comes_while_it_waits() -> None:
    """Trailers are answered, a second body is an error."""
    exchange = Exchange(Judge(WAITING))
    exchange.handle(FIRST_BODY)
    assert exchange.handle(TRAILERS) == (Continue(message=Message.REQUEST_TRAILERS),)
    assert exchange.handle(Ignored()) == ()
    with pytest.raises(ExchangeError):
        exchange.handle(BODY)


INPUTS = st.sampled_from(
    [HEADERS, LAST_HEADERS, BODY, FIRST_BODY, TRAILERS, RESPONSE_HEADERS, Ignored(), StreamClosed(),
     StreamClosed(by_us=True)]
)  # fmt: skip


@given(inputs=st.lists(INPUTS, max_size=12), answer=st.sampled_from([NAMED, UNPICKED, REJECTED]))
def test_any_order(inputs: list[Input], answer: Answer) -> None:
    """In any order of messages: at most one pick, one release exactly for a pick, one answer per message at most."""
    exchange = Exchange(judge := Judge(answer))
    actions: list[Action] = []
    for each in [*inputs, StreamClosed()]:
        try:
            new = exchange.handle(each)
        except ExchangeError:
            continue
        assert len(new) <= 1
        if isinstance(each, StreamClosed):
            assert all(isinstance(action, Release) for action in new)
        actions += new
    picks = [action for action in actions if isinstance(action, Pick)]
    releases = [action for action in actions if isinstance(action, Release)]
    assert len(judge.asked) <= 1
    assert len(picks) == len(releases) == (1 if judge.asked and answer is NAMED else 0)
    refusals = [index for index, action in enumerate(actions) if isinstance(action, Refuse)]
    assert all(not actions[index + 1 :] for index in refusals)


@pytest.mark.parametrize(("value", "is_told"), [("1", True), ("0", False), ("", False), ("true", False), (None, False)])
def test_who_asks_is_told(value: str | None, is_told: bool) -> None:
    """Only the word that is documented asks for the decision's id, in both shapes."""
    context = CONTEXT if value is None else replace(CONTEXT, headers={EXPLAIN_HEADER: value})
    shapes: tuple[list[Input], ...] = (
        [replace(FIRST_BODY, context=context)],
        [replace(HEADERS, context=context), BODY],
    )
    for messages in shapes:
        picks = [action for action in play(NAMED, *messages) if isinstance(action, Pick)]
        assert [pick.is_told for pick in picks] == [is_told]


def test_who_waited_is_told() -> None:
    """What was asked for at the beginning is not forgotten while the request waits."""
    exchange = Exchange(Judge(Waiting(ticket=1, for_s=1.0)))
    exchange.handle(replace(FIRST_BODY, context=replace(CONTEXT, headers={EXPLAIN_HEADER: "1"})))
    assert exchange.handle(Decided(NAMED)) == (Pick(message=Message.REQUEST_BODY, named=NAMED, is_told=True),)
