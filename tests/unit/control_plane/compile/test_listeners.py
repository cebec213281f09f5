"""Listeners."""

from typing import Any

from control_plane.compile.capability import Capabilities, Feature
from control_plane.policy.model import ListenerPicker
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, OLDEST, compiled, manager, policy


def test_address_and_routes() -> None:
    """The listener is named like the policy's, listens there and gets its routes by the same name."""
    found: Any = compiled().listeners["openai"]
    assert found["address"] == {"socketAddress": {"address": "127.0.0.1", "portValue": 8080}}
    assert manager()["rds"] == {
        "routeConfigName": "openai",
        "configSource": {"ads": {}, "resourceApiVersion": "V3"},
    }


def test_body_limit_while_no_route_is_known() -> None:
    """The connection's limit is the policy's."""
    found: Any = compiled(policy(max_request_bytes=65_536)).listeners["openai"]
    assert found["perConnectionBufferLimitBytes"] == 65_536


def test_http2_window_is_small() -> None:
    """A body may exceed the limit by one window; where no route can lift that limit the window is the limit."""
    assert manager()["http2ProtocolOptions"]["initialStreamWindowSize"] == 65_536
    old = manager(policy(max_request_bytes=8 << 20), OLDEST)["http2ProtocolOptions"]
    assert (old["initialStreamWindowSize"], old["initialConnectionWindowSize"]) == (8 << 20, 8 << 20)


def test_own_headers_are_removed_early() -> None:
    """Before anything looks at them."""
    (guard,) = manager()["earlyHeaderMutationExtensions"]
    mutations = guard["typedConfig"]["mutations"]
    prefixes = [item["removeOnMatch"]["keyMatcher"]["prefix"] for item in mutations if "removeOnMatch" in item]
    assert prefixes == ["x-kvpilot-", "x-gateway-destination-", "x-envoy-upstream-"]
    assert {"remove": "x-envoy-max-retries"} in mutations


def test_a_question_about_the_decision_comes_through() -> None:
    """Put by before our headers are removed, and taken back after, where clients may ask."""
    (guard,) = manager(policy(picker=ListenerPicker(explain="asked")))["earlyHeaderMutationExtensions"]
    mutations = guard["typedConfig"]["mutations"]
    steps = [
        each["append"]["header"]["key"] if "append" in each else next(iter(each)) for each in mutations[: 1 + 3 + 1 + 1]
    ]
    removed = ["removeOnMatch"] * 3
    assert steps == ["kvpilot-explain-put-by", *removed, "x-kvpilot-explain", "remove"]
    assert mutations[5] == {"remove": "kvpilot-explain-put-by"}
    for explain in ("always", "never"):
        (guard,) = manager(policy(picker=ListenerPicker(explain=explain)))["earlyHeaderMutationExtensions"]
        assert not any("append" in each for each in guard["typedConfig"]["mutations"])


def test_paths_have_one_spelling() -> None:
    """However a client writes it, a path is matched, and passed on, in the form that pods understand it in."""
    found = manager()
    assert (found["normalizePath"], found["mergeSlashes"]) == (True, True)
    assert found["pathWithEscapedSlashesAction"] == "UNESCAPE_AND_FORWARD"


def test_request_ids_of_clients_stay() -> None:
    """They are what the client's own logs have."""
    assert manager()["preserveExternalRequestId"] is True


def test_dots_do_not_cut_statistics() -> None:
    """A listener's statistics have no dots in their prefix."""
    found: Any = compiled(policy(name="open.ai")).listeners["open.ai"]
    assert found["filterChains"][0]["filters"][0]["typedConfig"]["statPrefix"] == "open_ai"


def test_what_the_envoy_lacks_is_left_out() -> None:
    """No guard and no log where there is no such extension."""
    bare = manager(wanted=NOTHING)
    assert not {"earlyHeaderMutationExtensions", "accessLog"} & set(bare)
    unlogged = manager(wanted=Capabilities(EVERYTHING.features - {Feature.ACCESS_LOG}))
    assert "accessLog" not in unlogged
