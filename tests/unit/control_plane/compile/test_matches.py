"""Conditions of rules as Envoy's route matches."""

import re
from typing import Any

import pytest

from control_plane.compile.matches import Alternative, alternatives, post_to
from control_plane.compile.names import PICKED_PATHS
from control_plane.policy.matching import RuleMatch, ValueMatch
from control_plane.policy.model import Model, RouteTarget
from control_plane.policy.regex import regex_problem
from control_plane.policy.string_match import StringMatch
from tests.unit.control_plane.compile.samples import listener, policy

POLICY = policy(Model(name="m", aliases=("n",), route=(RouteTarget(pool="a"),)))


def string(exact: str | None = None, prefix: str | None = None, regex: str | None = None) -> StringMatch:
    """A condition on a path or a method."""
    return StringMatch(exact=exact, prefix=prefix, regex=regex)


def ways(**fields: Any) -> list[Alternative]:
    """The ways to meet one match."""
    return alternatives((RuleMatch(**fields),), listener(), POLICY)


def way(**fields: Any) -> Alternative:
    """The only way to meet a match."""
    (found,) = ways(**fields)
    return found


def test_no_condition_takes_everything() -> None:
    """All calls, and every other path."""
    (found,) = alternatives((), listener(), POLICY)
    assert found == way()
    assert found.calls == PICKED_PATHS
    assert found.other_match() == {"prefix": "/"}
    assert found.call_match(PICKED_PATHS) == post_to(PICKED_PATHS)


@pytest.mark.parametrize(
    ("uri", "calls", "path"),
    [
        (string(exact="/v1/embeddings"), ("/v1/embeddings",), {"path": "/v1/embeddings"}),
        (string(prefix="/v1/chat"), ("/v1/chat/completions",), {"prefix": "/v1/chat"}),
        (string(regex="/v1/(m|e).*"), ("/v1/messages", "/v1/embeddings"), {"safeRegex": {"regex": "/v1/(m|e).*"}}),
        (string(exact="/v1/models"), (), {"path": "/v1/models"}),
    ],
)
def test_paths(uri: StringMatch, calls: tuple[str, ...], path: Any) -> None:
    """A condition on the path leaves some of the calls, and is the condition of other requests."""
    found = way(uri=uri)
    assert found.calls == calls
    assert found.other_match() == path


def test_methods() -> None:
    """Calls are POST; what is not POST is no call."""
    assert way(method=string(exact="GET")).calls == ()
    assert way(method=string(regex="GET|POST")).calls == PICKED_PATHS
    assert way(method=string(exact="GET")).other_match()["headers"] == [
        {"name": ":method", "stringMatch": {"exact": "GET"}}
    ]


def test_only_calls() -> None:
    """A model, a task of a known name, or a call's own path and method leave nothing else."""
    assert way(models=("m",)).path is None
    assert way(task_type=("chat",)).path is None
    assert way(uri=string(exact="/v1/messages"), method=string(exact="POST")).path is None
    assert way(uri=string(exact="/v1/messages")).path is not None


def test_models_by_every_name() -> None:
    """A model's name brings its aliases."""
    assert way(models=("m",)).models == ("m", "n")
    assert way(models=("n",)).models == ("n",)


def test_tasks() -> None:
    """Known words are paths, others the header's value: together two ways."""
    by_path, by_header = ways(task_type=("chat", "embedding", "sum.up", "x"))
    assert by_path.calls == ("/v1/chat/completions", "/v1/embeddings")
    assert by_path.headers == ()
    assert by_header.calls == PICKED_PATHS
    assert by_header.headers == ({"name": "x-task-type", "stringMatch": {"safeRegex": {"regex": r"sum\.up|x"}}},)


def test_headers_of_the_listener() -> None:
    """Tier and region are headers whose names the listener knows."""
    (found,) = alternatives(
        (RuleMatch(user_tier=("a",), region=("b",)),), listener(tier_header="x-t", region_header="x-r"), POLICY
    )
    assert found.headers == (
        {"name": "x-t", "stringMatch": {"exact": "a"}},
        {"name": "x-r", "stringMatch": {"exact": "b"}},
    )


def test_words_with_signs_are_themselves() -> None:
    """Whatever a value holds, the expression for several values matches exactly these."""
    values = ("a.b", "(x)", "[y]", "{z}", "a|b", "c*d+e?", "^f$", r"g\h", "i j", "k_l-m/n#o")
    (header,) = way(user_tier=values).headers
    matcher: Any = header["stringMatch"]
    expression = re.compile(matcher["safeRegex"]["regex"])
    assert all(expression.fullmatch(value) for value in values)
    assert not expression.fullmatch("aXb")


def test_many_words_become_several_ways() -> None:
    """Envoy takes no longer expressions; each value is in exactly one, and a value of that length alone is itself."""
    values = (*(f"tenant-{index}" for index in range(30)), "x" * 256, "last")
    found = ways(user_tier=values, region=("eu",))
    assert len(found) > 3
    assert {way.headers[1]["name"] for way in found} == {"x-region"}
    matchers: list[Any] = [way.headers[0]["stringMatch"] for way in found]
    assert {"exact": "x" * 256} in matchers
    expressions = [matcher["safeRegex"]["regex"] for matcher in matchers if "safeRegex" in matcher]
    assert [text for text in expressions if regex_problem(text)] == []
    exact = [matcher["exact"] for matcher in matchers if "exact" in matcher]
    assert sorted([*exact, *(word for text in expressions for word in text.split("|"))]) == sorted(values)


def test_each_of_one_list_with_each_of_the_other() -> None:
    """Two long lists are met in every combination, and words of tasks beside them."""
    long = tuple(f"{letter * 60}" for letter in "ab")
    found = ways(user_tier=long, region=long, task_type=("chat", *long))
    assert len(found) == 2 * 2 * 3
    assert len({str((way.calls, way.headers)) for way in found}) == len(found)


def test_conditions_on_headers() -> None:
    """In the order of their names, so that the order in the file changes nothing."""
    found = way(headers={"x-b": ValueMatch(prefix="p"), "x-a": ValueMatch(present=False)})
    assert found.headers == (
        {"name": "x-a", "presentMatch": False},
        {"name": "x-b", "stringMatch": {"prefix": "p"}},
    )


def test_without_headers() -> None:
    """The opposite; a header that is missing does not meet a condition on its value."""
    found = way(
        without_headers={
            "x-a": ValueMatch(exact="a"),
            "x-b": ValueMatch(present=True),
        }
    )
    inverted = {"stringMatch": {"exact": "a"}, "invertMatch": True}
    assert found.headers == (
        {"name": "x-a", **inverted, "treatMissingHeaderAsEmpty": True},
        {"name": "x-b", "presentMatch": False},
    )


def test_query_parameters() -> None:
    """On calls and on other requests."""
    found = way(query_params={"k": ValueMatch(regex="v+"), "p": ValueMatch(present=True)})
    wanted = [{"name": "k", "stringMatch": {"safeRegex": {"regex": "v+"}}}, {"name": "p", "presentMatch": True}]
    assert found.other_match()["queryParameters"] == wanted
    assert found.call_match(PICKED_PATHS)["queryParameters"] == wanted
