"""The rewrite of models in Envoy; what the script does is shown on a real Envoy (`tests/e2e/test_routing.py`)."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.model_rewrite import (
    LUA_FILTER,
    SCRIPT,
    names_for_all,
    rewrite_by_all,
    rewrite_filter,
    rewrite_of,
)
from tests.unit.control_plane.compile.samples import EVERYTHING, NICKNAMED, PLAIN, manager, policy

WITHOUT_LUA = Capabilities(EVERYTHING.features - {Feature.FAIL_OPEN_REWRITE})


def test_a_route_says_what_to_write() -> None:
    """One name for all, or a name for each that a client may write."""
    always = rewrite_of("engine", {}, EVERYTHING)
    assert always["metadata"] == {"filterMetadata": {LUA_FILTER: {"model": "engine"}}}
    by_name = rewrite_of("", {"b": "m", "a": "m"}, EVERYTHING)
    assert by_name["metadata"] == {"filterMetadata": {LUA_FILTER: {"names": {"a": "m", "b": "m"}}}}
    assert always["typedPerFilterConfig"] == by_name["typedPerFilterConfig"]


def test_the_names_of_all_models_stand_once() -> None:
    """Routes for any model ask for the table of their configuration, instead of repeating it."""
    config = names_for_all({"b/1": "m", "a": "m"}, EVERYTHING)["typedPerFilterConfig"]
    assert 'local every = {["a"] = "m", ["b/1"] = "m"}\n' in str(config[LUA_FILTER]["sourceCode"]["inlineString"])  # type: ignore[index]
    assert rewrite_by_all(EVERYTHING) == {"metadata": {"filterMetadata": {LUA_FILTER: {"every": True}}}}
    assert names_for_all({}, EVERYTHING) == names_for_all({"a": "m"}, WITHOUT_LUA) == rewrite_by_all(WITHOUT_LUA) == {}


def test_nothing_to_write() -> None:
    """Then a route does not ask for the script, nor where there is no Lua."""
    assert rewrite_of("", {}, EVERYTHING) == {}
    assert rewrite_of("engine", {}, WITHOUT_LUA) == {}


def test_the_filter_is_idle_by_itself() -> None:
    """The script has a name and is no default: only routes that name it run it."""
    config = rewrite_filter()["typedConfig"]
    assert set(config) == {"@type", "sourceCodes"}  # type: ignore[call-overload]
    assert SCRIPT in config["sourceCodes"]  # type: ignore[index]


def test_it_stands_behind_the_headers() -> None:
    """Where the picker's metadata is there already; and nowhere if nobody needs it."""
    names = [each["name"] for each in manager(policy(NICKNAMED))["httpFilters"]]
    assert names[names.index(LUA_FILTER) - 1] == "envoy.filters.http.header_mutation"
    assert LUA_FILTER not in [each["name"] for each in manager(policy(PLAIN))["httpFilters"]]
    assert LUA_FILTER not in [each["name"] for each in manager(policy(NICKNAMED), WITHOUT_LUA)["httpFilters"]]
