"""Envoy's own answers."""

from typing import Any

from control_plane.compile.local_replies import local_reply_config


def mappers() -> list[Any]:
    """The mappers in order."""
    config: Any = local_reply_config()
    return list(config["mappers"])


def statuses(condition: Any) -> list[int]:
    """The statuses that a condition names."""
    parts = condition["andFilter"]["filters"] if "andFilter" in condition else [condition]
    return [
        part["statusCodeFilter"]["comparison"]["value"]["defaultValue"] for part in parts if "statusCodeFilter" in part
    ]


def test_every_mapper_answers_json() -> None:
    """All of them set OpenAI's shape and its content type."""
    for mapper in mappers():
        override = mapper["bodyFormatOverride"]
        assert set(override["jsonFormat"]) == {"error"}
        assert override["contentType"] == "application/json"


def test_answers_of_the_picker_are_left_alone() -> None:
    """A status that the picker uses is only matched together with a response flag, which its answers do not have."""
    for mapper in mappers():
        for status in statuses(mapper["filter"]):
            if status in (400, 429, 503):
                assert {"responseFlagFilter": {}} in mapper["filter"]["andFilter"]["filters"]


def test_unavailable_says_when_to_come_back() -> None:
    """Only 503 has Retry-After."""
    with_header = [statuses(mapper["filter"]) for mapper in mappers() if "headersToAdd" in mapper]
    assert with_header == [[503]]


def test_unknown_model_comes_first() -> None:
    """The 404 of a model is more special than any other 404."""
    assert statuses(mappers()[0]["filter"]) == [404]
    assert "metadataFilter" in mappers()[0]["filter"]["andFilter"]["filters"][1]
