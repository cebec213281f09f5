"""The filter chain."""

from typing import Any

import pytest

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.filters import http_filters
from control_plane.compile.names import EXPLAIN_HEADER, TOLD_KEY
from control_plane.compile.needs import ORDINARY, Needs
from control_plane.policy.model import ListenerPicker
from ext_proc import wire
from ext_proc.core import exchange
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, listener

FULL_CHAIN = [
    "envoy.filters.http.json_to_metadata",
    "envoy.filters.http.ext_proc",
    "envoy.filters.http.buffer",
    "envoy.filters.http.header_mutation",
    "kvpilot.usage",
    "envoy.filters.http.sse_to_metadata",
    "envoy.filters.http.router",
]


def chain(wanted: Capabilities = EVERYTHING, needs: Needs = ORDINARY, **fields: Any) -> dict[str, Any]:
    """Filters by name, in order."""
    found: list[Any] = http_filters(listener(**fields), wanted, needs=needs)
    return {filter_["name"]: filter_["typedConfig"] for filter_ in found}


def without(*features: Feature) -> Capabilities:
    """Everything but these."""
    return Capabilities(EVERYTHING.features - set(features))


def test_order() -> None:
    """Each filter stands where it must; see the module's docstring."""
    assert list(chain()) == FULL_CHAIN
    assert list(chain(NOTHING)) == ["envoy.filters.http.router"]


@pytest.mark.parametrize(
    ("feature", "lost"),
    [
        (Feature.MODEL_ROUTING, {"envoy.filters.http.json_to_metadata", "kvpilot.usage"}),
        (Feature.PICKER, {"envoy.filters.http.ext_proc"}),
        (Feature.BODY_HOLDING, {"envoy.filters.http.buffer"}),
        (Feature.HEADERS_FROM_METADATA, {"envoy.filters.http.header_mutation"}),
        (Feature.STREAM_USAGE, {"envoy.filters.http.sse_to_metadata"}),
    ],
)
def test_a_missing_feature_costs_its_filter_only(feature: Feature, lost: set[str]) -> None:
    """The rest of the chain stays as it is."""
    assert list(chain(without(feature))) == [name for name in FULL_CHAIN if name not in lost]


def test_one_message_shape() -> None:
    """The picker gets the body alone, its answer counts for namespace envoy.lb, and its absence costs nothing."""
    picker = chain(picker=ListenerPicker(message_timeout_s=0.1))["envoy.filters.http.ext_proc"]
    assert picker["processingMode"] == {
        "requestHeaderMode": "SKIP",
        "requestBodyMode": "BUFFERED",
        "responseHeaderMode": "SKIP",
    }
    assert picker["metadataOptions"] == {"receivingNamespaces": {"untyped": ["envoy.lb"]}}
    assert picker["failureModeAllow"] is True
    assert (picker["messageTimeout"], picker["maxMessageTimeout"]) == ("0.1s", "600s")


def test_two_message_shape() -> None:
    """Asked for, or because the body cannot be held back otherwise."""
    asked = chain(picker=ListenerPicker(mode="two-message"))["envoy.filters.http.ext_proc"]
    forced = chain(without(Feature.BODY_HOLDING))["envoy.filters.http.ext_proc"]
    for picker in (asked, forced):
        assert picker["processingMode"]["requestHeaderMode"] == "SEND"


def test_session_header_is_passed_on() -> None:
    """The picker sees the listener's own session header."""
    picker = chain(session_header="x-chat")["envoy.filters.http.ext_proc"]
    assert "request.headers['x-chat']" in picker["requestAttributes"]


def test_headers_that_strategies_look_at_are_passed_on() -> None:
    """In double quotes, by which the picker tells them from the session header."""
    picker = chain(needs=Needs(headers=("cookie", "x-user")))["envoy.filters.http.ext_proc"]
    wanted = [name for name in picker["requestAttributes"] if '"' in name]
    assert wanted == [f'request.headers["{name}"]' for name in ("cookie", "x-user", "x-kvpilot-explain")]


def test_model_is_read_under_any_content_type() -> None:
    """Envoy's default takes exactly application/json."""
    rules = chain()["envoy.filters.http.json_to_metadata"]["requestRules"]
    assert rules["allowContentTypesRegex"] == {"regex": ".*"}
    assert rules["allowEmptyContentType"] is True


def test_buffer_holds_what_a_client_may_send() -> None:
    """The buffer's limit is the listener's."""
    assert chain(max_request_bytes=123_456)["envoy.filters.http.buffer"]["maxRequestBytes"] == 123_456


def test_labels_of_pods_are_removed_before_ours_are_set() -> None:
    """What a pod sends under our names never reaches a client."""
    mutations = chain()["envoy.filters.http.header_mutation"]["mutations"]["responseMutations"]
    assert mutations[:2] == [{"remove": "x-kvpilot-decision"}, {"remove": "x-kvpilot-pod"}]


@pytest.mark.parametrize(
    ("explain", "is_passed_on", "told"),
    [
        ("always", False, {"x-kvpilot-decision": "kvpilot-decision", "x-kvpilot-pod": "UPSTREAM"}),
        ("asked", True, {"x-kvpilot-decision": "kvpilot-told-decision"}),
        ("never", False, {}),
    ],
)
def test_what_answers_tell(explain: str, is_passed_on: bool, told: dict[str, str]) -> None:
    """Everything; the id that the picker gives to who asks; nothing. Requests to pods have the id in any case."""
    filters = chain(picker=ListenerPicker(explain=explain))
    attributes = filters["envoy.filters.http.ext_proc"]["requestAttributes"]
    assert ('request.headers["x-kvpilot-explain"]' in attributes) is is_passed_on
    mutations = filters["envoy.filters.http.header_mutation"]["mutations"]
    answers = mutations["responseMutations"]
    assert answers[:2] == [{"remove": "x-kvpilot-decision"}, {"remove": "x-kvpilot-pod"}]
    headers = {
        each["append"]["header"]["key"]: each["append"]["header"]["value"] for each in answers if "append" in each
    }
    assert headers.keys() - {"x-kvpilot-degraded", "x-kvpilot-degraded-features"} == told.keys()
    assert all(value in headers[name] for name, value in told.items())
    to_pods = mutations["requestMutations"]
    assert ({"remove": "x-kvpilot-explain"} in to_pods) is is_passed_on
    assert "x-kvpilot-decision" in [each["append"]["header"]["key"] for each in to_pods if "append" in each]


def test_the_picker_has_the_same_names() -> None:
    """What asks for the id, and under which key it comes."""
    assert (EXPLAIN_HEADER, TOLD_KEY) == (exchange.EXPLAIN_HEADER, wire.TOLD_KEY)


def test_router_logs_attempts_while_they_run() -> None:
    """Start, progress and end of each attempt, where the Envoy can log to kvpilot."""
    router = chain()["envoy.filters.http.router"]
    assert router["upstreamLogOptions"]["flushUpstreamLogOnUpstreamStream"] is True
    assert len(router["upstreamLog"]) == 1
    assert "upstreamLog" not in chain(without(Feature.ACCESS_LOG))["envoy.filters.http.router"]
