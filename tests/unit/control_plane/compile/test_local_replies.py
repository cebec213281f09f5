"""Envoy's own answers."""

from typing import Any

import pytest

from control_plane.compile import Capabilities, Feature
from control_plane.compile.local_replies import local_reply_config
from control_plane.compile.names import ANSWER_HEADER
from control_plane.compile.needs import Needs
from control_plane.policy.rate_limits import LIMITED_STATUS
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING

FLAGGED: dict[str, Any] = {"responseFlagFilter": {}}
SHARED = (400, 404, 429, 503)
"""Sent by the picker, by our own direct responses, and by Envoy."""


def mappers(wanted: Capabilities = EVERYTHING) -> list[Any]:
    """The mappers in order, behind the one for a rule's own answer."""
    config: Any = local_reply_config(wanted)
    return list(config["mappers"][1:])


def missing_keys(condition: Any) -> set[str]:
    """The metadata keys that must be missing."""
    found = [part["metadataFilter"] for part in condition["andFilter"]["filters"]]
    assert all(one["matchIfKeyNotFound"] and one["matcher"]["value"] == {"nullMatch": {}} for one in found)
    return {one["matcher"]["path"][0]["key"] for one in found}


def statuses(condition: Any) -> list[int]:
    """The statuses that a condition names."""
    parts = condition["andFilter"]["filters"] if "andFilter" in condition else [condition]
    return [
        part["statusCodeFilter"]["comparison"]["value"]["defaultValue"] for part in parts if "statusCodeFilter" in part
    ]


def test_a_rules_own_words_come_first() -> None:
    """Whatever its status: the mapper for it changes nothing."""
    config: Any = local_reply_config(EVERYTHING)
    marked = {"name": ANSWER_HEADER, "presentMatch": True}
    assert config["mappers"][0] == {"filter": {"headerFilter": {"header": marked}}}


def test_unknown_hosts_come_before_unknown_models() -> None:
    """A body that names a model was read, too, where no virtual host has the host name."""
    hosts, model = mappers()[:2]
    assert hosts["bodyFormatOverride"]["jsonFormat"]["error"]["code"] == "not_found"
    assert {"responseFlagFilter": {"flags": ["NR"]}} in hosts["filter"]["andFilter"]["filters"]
    assert model["bodyFormatOverride"]["jsonFormat"]["error"]["code"] == "model_not_found"


def test_unread_bodies_tell_nothing() -> None:
    """Where no filter reads bodies, what was noted about them says nothing about who answers."""
    config: Any = local_reply_config(EVERYTHING, Needs(model=False))
    assert config == local_reply_config(Capabilities(EVERYTHING.features - {Feature.MODEL_ROUTING}))


def test_every_mapper_answers_json() -> None:
    """All of them set OpenAI's shape and its content type."""
    for mapper in mappers():
        override = mapper["bodyFormatOverride"]
        assert set(override["jsonFormat"]) == {"error"}
        assert override["contentType"] == "application/json"


def test_what_the_rate_limit_says_becomes_a_429() -> None:
    """Its status is nobody else's, so the picker's own 429 is not taken for it."""
    every = mappers()
    (limited,) = [mapper for mapper in every if statuses(mapper["filter"]) == [LIMITED_STATUS]]
    assert limited["statusCode"] == 429
    assert limited["bodyFormatOverride"]["jsonFormat"]["error"]["code"] == "rate_limit_exceeded"
    others = [status for mapper in every if mapper is not limited for status in statuses(mapper["filter"])]
    assert LIMITED_STATUS not in others


def test_answers_of_the_picker_and_our_own_are_left_alone() -> None:
    """Their statuses are matched only with a response flag, which they do not have, or where no body was read."""
    shared = [mapper["filter"] for mapper in mappers()[2:] if set(statuses(mapper["filter"])) & set(SHARED)]
    assert shared
    for condition in shared:
        _, own = condition["andFilter"]["filters"]
        flagged, unread = own["orFilter"]["filters"]
        assert flagged == FLAGGED
        assert missing_keys(unread) == {"model", "body"}


def test_where_bodies_are_not_read_only_the_flag_counts() -> None:
    """Without the filter nothing is ever noted, not even for a request that the picker has answered."""
    for mapper in mappers(NOTHING)[2:]:
        if set(statuses(mapper["filter"])) & set(SHARED):
            assert FLAGGED in mapper["filter"]["andFilter"]["filters"]


@pytest.mark.parametrize("status", [401, 403, 408, 413, 426, 431, 500, 501, 502, 504])
def test_statuses_that_only_envoy_sends(status: int) -> None:
    """Nothing else is asked of them."""
    assert [status] in [statuses(mapper["filter"]) for mapper in mappers() if "andFilter" not in mapper["filter"]]


def test_any_other_error_is_covered() -> None:
    """The last two take what is left: first server errors, then the client's."""
    ends = [mapper["filter"]["andFilter"]["filters"][0]["statusCodeFilter"]["comparison"] for mapper in mappers()[-2:]]
    assert [(end["op"], end["value"]["defaultValue"]) for end in ends] == [("GE", 500), ("GE", 400)]
    assert [mapper["bodyFormatOverride"]["jsonFormat"]["error"]["type"] for mapper in mappers()[-2:]] == [
        "server_error",
        "invalid_request_error",
    ]


def test_unavailable_says_when_to_come_back() -> None:
    """Only 503 has Retry-After."""
    with_header = [statuses(mapper["filter"]) for mapper in mappers() if "headersToAdd" in mapper]
    assert with_header == [[503]]


def test_unknown_model_comes_first() -> None:
    """The 404 of a model is more special than any other 404 of a request that found its virtual host."""
    assert statuses(mappers()[1]["filter"]) == [404]
    assert "metadataFilter" in mappers()[1]["filter"]["andFilter"]["filters"][1]
