"""Access logs to kvpilot."""

from typing import Any

from control_plane.compile.access_logs import attempt_log, request_log
from tests.unit.control_plane.compile.samples import EVERYTHING, OLDEST


def config_of(log: Any) -> Any:
    """The common configuration of a logger."""
    return log["typedConfig"]["commonConfig"]


def tags_of(log: Any) -> list[str]:
    """Names of its custom tags."""
    return [tag["tag"] for tag in config_of(log)["customTags"]]


def test_both_logs_go_to_kvpilot_with_the_decision() -> None:
    """They join by the decision id and are told apart by their names."""
    logs = [config_of(log) for log in (attempt_log(EVERYTHING), request_log(EVERYTHING))]
    assert [log["logName"] for log in logs] == ["attempt", "request"]
    for log in logs:
        assert log["grpcService"] == {"envoyGrpc": {"clusterName": "kvpilot"}}
        assert {"tag": "decision", "requestHeader": {"name": "x-kvpilot-decision"}} in log["customTags"]


def test_tags() -> None:
    """Attempts tell their times to the first token, requests model and tokens, too."""
    assert tags_of(attempt_log(EVERYTHING)) == ["decision", "first_token_us", "attempt_first_token_us"]
    expected = ["decision", "model", "prompt_tokens", "completion_tokens", "cached_tokens", "first_token_us"]
    assert expected == tags_of(request_log(EVERYTHING))


def test_older_envoys_do_not_time_the_first_token() -> None:
    """Before 1.37 there is no such point in time; nothing else is lost."""
    assert tags_of(attempt_log(OLDEST)) == ["decision"]
    assert "first_token_us" not in tags_of(request_log(OLDEST))


def test_load_headers_of_attempts() -> None:
    """From the answer's headers and trailers where they are wanted, and nowhere else."""
    names = ["endpoint-load-metrics", "endpoint-load-metrics-bin"]
    config: Any = attempt_log(EVERYTHING, loads=True)["typedConfig"]
    assert config["additionalResponseHeadersToLog"] == config["additionalResponseTrailersToLog"] == names
    others: list[Any] = [attempt_log(EVERYTHING), request_log(EVERYTHING)]
    assert all("additionalResponseHeadersToLog" not in log["typedConfig"] for log in others)
