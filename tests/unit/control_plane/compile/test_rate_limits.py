"""Rate limits."""

from typing import Any

import pytest

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.rate_limits import RATE_LIMIT_FILTER, rate_limit_filter, with_owner
from control_plane.policy.model import Model, RouteTarget
from control_plane.policy.rate_limits import LIMITED_STATUS, RateLimit, RateLimitHeader
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, listener, manager, policy, routes

TEN = RateLimit(requests=10)
BY_KEY = RateLimit(requests=2, per_s=60.0, burst=5, header=RateLimitHeader(name="x-api-key"))
FREE = RateLimit(requests=5, header=RateLimitHeader(name="x-tier", exact="free"))
OWNER = {
    "metadata": {
        "descriptorKey": "owner",
        "metadataKey": {"key": "kvpilot.limits", "path": [{"key": "owner"}]},
        "source": "ROUTE_ENTRY",
    }
}
ALL = {"genericKey": {"descriptorKey": "0", "descriptorValue": "all"}}


def fields(*limits: RateLimit, owners: dict[str, tuple[RateLimit, ...]] | None = None) -> Any:
    """The configuration of the filter."""
    (found,) = rate_limit_filter(listener(rate_limit=limits), owners or {}, EVERYTHING)
    return found["typedConfig"]


def test_no_limit_no_filter() -> None:
    """Nothing is in the chain for nothing, and an Envoy without the filter never gets it."""
    assert rate_limit_filter(listener(), {}, EVERYTHING) == []
    assert rate_limit_filter(listener(rate_limit=(TEN,)), {"model/a": (TEN,)}, NOTHING) == []


def test_a_limit_for_all_requests() -> None:
    """One bucket; what does not fit gets the status that becomes a 429, and is told when to come back."""
    found = fields(TEN)
    assert found["rateLimits"] == [{"actions": [ALL]}]
    bucket = {"maxTokens": 10, "tokensPerFill": 10, "fillInterval": "1s"}
    assert found["descriptors"] == [{"entries": [{"key": "0", "value": "all"}], "tokenBucket": bucket}]
    assert found["status"] == {"code": LIMITED_STATUS}
    assert found["responseHeadersToAdd"][0]["header"] == {"key": "retry-after", "value": "1"}


def test_a_bucket_for_each_value() -> None:
    """An entry without a value stands for all of them; requests without the header have a bucket, too."""
    found = fields(BY_KEY)
    bucket = {"maxTokens": 5, "tokensPerFill": 2, "fillInterval": "60s"}
    assert found["descriptors"] == [
        {"entries": [{"key": "0 x-api-key"}], "tokenBucket": bucket},
        {"entries": [{"key": "0 x-api-key absent", "value": "all"}], "tokenBucket": bucket},
    ]
    by_value, absent = (each["actions"][0] for each in found["rateLimits"])
    assert by_value == {"requestHeaders": {"headerName": "x-api-key", "descriptorKey": "0 x-api-key"}}
    assert absent["headerValueMatch"]["expectMatch"] is False
    assert absent["headerValueMatch"]["headers"] == [{"name": "x-api-key", "presentMatch": True}]


def test_a_bucket_for_some_values() -> None:
    """Only requests that match are counted."""
    found = fields(FREE)
    (action,) = found["rateLimits"][0]["actions"]
    assert action["headerValueMatch"]["headers"] == [{"name": "x-tier", "stringMatch": {"exact": "free"}}]
    assert action["headerValueMatch"]["expectMatch"] is True
    assert [each["entries"] for each in found["descriptors"]] == [
        [{"key": '0 ["x-tier","free",null,null]', "value": "all"}]
    ]


def test_limits_of_models_are_their_own() -> None:
    """Each owner's buckets name it; what gives requests their descriptors is there once."""
    found = fields(TEN, owners={"model/a": (TEN,), "rule/b": (TEN,)})
    assert found["rateLimits"] == [{"actions": [ALL]}, {"actions": [OWNER, ALL]}]
    assert [each["entries"][0] for each in found["descriptors"]] == [
        {"key": "0", "value": "all"},
        {"key": "owner", "value": "model/a"},
        {"key": "owner", "value": "rule/b"},
    ]


def test_limits_of_one_place_that_count_alike_have_two_buckets() -> None:
    """Ten a second and a hundred a minute hold together."""
    found = fields(TEN, RateLimit(requests=100, per_s=60.0))
    assert [each["entries"][0]["key"] for each in found["descriptors"]] == ["0", "1"]
    assert len(found["rateLimits"]) == 2


def test_owners_with_different_headers_do_not_mix() -> None:
    """The value of one header is never looked up in the buckets of another."""
    other = RateLimit(requests=2, header=RateLimitHeader(name="x-user"))
    found = fields(owners={"model/a": (BY_KEY,), "model/b": (other,)})
    keys = [each["entries"][1]["key"] for each in found["descriptors"]]
    assert keys == ["0 x-api-key", "0 x-api-key absent", "0 x-user", "0 x-user absent"]


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [((TEN,), "1"), ((BY_KEY,), "30"), ((TEN, BY_KEY), "30"), ((RateLimit(requests=1, per_s=1.5),), "2")],
)
def test_retry_after(limits: tuple[RateLimit, ...], seconds: str) -> None:
    """The time until the slowest bucket has a token again, in whole seconds."""
    assert fields(*limits)["responseHeadersToAdd"][0]["header"]["value"] == seconds


def test_routes_name_the_owner_of_their_limits() -> None:
    """A model's routes carry its name for the filter; other routes carry nothing."""
    value = policy(
        Model(name="a", route=(RouteTarget(pool="a"),), rate_limit=(TEN,)),
        Model(name="b", route=(RouteTarget(pool="a"),)),
    )
    marked = {route["name"] for route in routes(value) if "kvpilot.limits" in str(route.get("metadata"))}
    assert marked == {"model/a"}
    names = [found["name"] for found in manager(value)["httpFilters"]]
    assert names.index(RATE_LIMIT_FILTER) < names.index("envoy.filters.http.ext_proc")
    lacking = Capabilities(EVERYTHING.features - {Feature.RATE_LIMITS})
    assert not any("kvpilot.limits" in str(route) for route in routes(value, lacking))


def test_other_metadata_of_a_route_stays() -> None:
    """What others say in a route's metadata is kept."""
    route: Any = {"name": "model/a", "metadata": {"filterMetadata": {"x": {"y": 1}}}}
    assert with_owner(route, listener(), {"model/a": (TEN,)})["metadata"] == {
        "filterMetadata": {"x": {"y": 1}, "kvpilot.limits": {"owner": "model/a", "retry_after": "1"}}
    }
    assert with_owner(route, listener(), {}) is route


def test_a_slow_limit_tells_only_its_own_requests_to_wait() -> None:
    """The answer says how long by the limits that hold for the request: those of its route and of the listener."""
    hourly = RateLimit(requests=2, per_s=3600.0)
    found = fields(TEN, owners={"model/a": (hourly,), "model/b": (TEN,)})
    listeners, owners = (each["header"]["value"] for each in found["responseHeadersToAdd"])
    assert (listeners, owners) == ("1", "%METADATA(ROUTE:kvpilot.limits:retry_after)%")
    limits = {"model/a": (hourly,), "model/b": (TEN,)}
    told: list[Any] = [with_owner({"name": name}, listener(rate_limit=(BY_KEY,)), limits) for name in limits]
    assert [each["metadata"]["filterMetadata"]["kvpilot.limits"]["retry_after"] for each in told] == ["1800", "30"]
