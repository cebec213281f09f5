"""Access logs for people."""

from typing import Any

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.log_sinks import log_sinks
from control_plane.policy.access_log import AccessLog, AccessLogFilter
from control_plane.policy.feedback import Feedback
from control_plane.policy.log_format import format_problem
from tests.unit.control_plane.compile.samples import EVERYTHING, listener, manager, policy


def sink(log: AccessLog, *, usage: bool = True, wanted: Capabilities = EVERYTHING) -> Any:
    """The one logger."""
    (found,) = log_sinks(listener(access_log=(log,)), wanted, usage=usage)
    return found


def line_of(found: Any) -> Any:
    """The fields of a logger."""
    return found["typedConfig"]["logFormat"]["jsonFormat"]


def test_streams_are_not_opened_by_path() -> None:
    """Standard output and standard error have loggers of their own; all else is a file."""
    types = [
        sink(AccessLog(path=path))["typedConfig"]["@type"].rpartition(".")[2]
        for path in ("/dev/stdout", "/dev/stderr", "/var/log/x.log")
    ]
    assert types == ["StdoutAccessLog", "StderrAccessLog", "FileAccessLog"]
    assert sink(AccessLog(path="/var/log/x.log"))["typedConfig"]["path"] == "/var/log/x.log"


def test_usual_fields() -> None:
    """What an operator looks for, each in Envoy's own operators, all of which kvpilot itself knows."""
    line = line_of(sink(AccessLog()))
    assert {"time", "status", "flags", "pool", "picked", "served", "model", "decision", "first_token_ms"} <= set(line)
    assert line["session"] == "%REQ(x-session-id)%"
    known = {name: value for name, value in line.items() if name != "first_token_ms"}
    assert {name: format_problem(value) for name, value in known.items()} == dict.fromkeys(known, ("", ""))


def test_fields_of_the_policy() -> None:
    """They are added, take the place of a usual one, or take it out."""
    line = line_of(sink(AccessLog(fields={"team": "%REQ(x-team)%", "path": "%PROTOCOL%", "client": ""})))
    assert (line["team"], line["path"]) == ("%REQ(x-team)%", "%PROTOCOL%")
    assert "client" not in line


def test_what_an_envoy_or_a_policy_lacks_is_no_field() -> None:
    """No token counts where they are not read, no first token from an Envoy that does not time it."""
    assert "prompt_tokens" not in line_of(sink(AccessLog(), usage=False))
    older = Capabilities(EVERYTHING.features - {Feature.FIRST_TOKEN_TIME})
    assert "first_token_ms" not in line_of(sink(AccessLog(), wanted=older))
    without = Capabilities(EVERYTHING.features - {Feature.ACCESS_LOG_SINKS})
    assert log_sinks(listener(access_log=(AccessLog(),)), without, usage=True) == []


def test_filters() -> None:
    """One condition stands alone, two are both to hold; the numbers are in Envoy's units."""
    assert "filter" not in sink(AccessLog())
    status = sink(AccessLog(filter=AccessLogFilter(min_status=400)))["filter"]["statusCodeFilter"]["comparison"]
    assert (status["op"], status["value"]["defaultValue"]) == ("GE", 400)
    both = sink(AccessLog(filter=AccessLogFilter(min_status=500, min_duration_s=1.5)))["filter"]["andFilter"]["filters"]
    assert both[1]["durationFilter"]["comparison"]["value"]["defaultValue"] == 1500


def test_they_stand_beside_kvpilots_own() -> None:
    """The gRPC log comes first and stays; usage follows the policy's switch."""
    value = policy(access_log=(AccessLog(), AccessLog(path="/x")))
    names = [found["name"] for found in manager(value)["accessLog"]]
    assert names == ["envoy.access_loggers.http_grpc", "envoy.access_loggers.stdout", "envoy.access_loggers.file"]
    assert Feedback().usage
