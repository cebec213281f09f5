"""Rate limits: one local rate limit filter per listener, for the limits of the listener and of its models and rules.

Each limit has a bucket of its own, found by a descriptor; Envoy asks all buckets whose descriptor a request has, and
refuses it when one of them is empty. A model's descriptors name the model, which its routes carry as metadata: settings
per route would give each of a model's routes a bucket of its own, and would take the place of the listener's.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.string_matchers import header_matcher
from control_plane.compile.typed import Json, duration, extension, set_header
from control_plane.policy.model import Listener
from control_plane.policy.rate_limits import LIMITED_STATUS, RateLimit, RateLimitHeader
from control_plane.policy.string_match import StringMatch

RATE_LIMIT_FILTER = "envoy.filters.http.local_ratelimit"

LIMITS_NAMESPACE = "kvpilot.limits"
"""Metadata of a route: whose limits hold for its requests."""
OWNER_KEY = "owner"
RETRY_AFTER_KEY = "retry_after"
"""Seconds for the answer to one of its requests that is too much; the listener's alone would mislead."""

MAX_HEADER_BUCKETS = 10_000
"""Values of a header that have buckets at once, some hundred bytes each; of more the one unused longest starts anew."""

FILL_STEP_MS = 50
"""Envoy's shortest interval of a bucket (local rate limit filter)."""

_RETRY_AFTER = "retry-after"

_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"

# What gives a request a descriptor, and what the descriptor is then.
_Counted = tuple[Json, Json]


def rate_limit_filter(
    listener: Listener, owners: Mapping[str, Sequence[RateLimit]], capabilities: Capabilities
) -> list[Json]:
    """The filter, or none where there is nothing to limit. `owners`: route name → the limits of its requests."""
    buckets = [*_buckets("", listener.rate_limit)]
    for owner, limits in owners.items():
        buckets += _buckets(owner, limits)
    if not buckets or not capabilities.has(Feature.RATE_LIMITS):
        return []
    always: Json = {"defaultValue": {"numerator": 100}, "runtimeKey": f"kvpilot.rate_limit.{listener.name}"}
    fields: Json = {
        "statPrefix": "kvpilot",
        "status": {"code": LIMITED_STATUS},
        "filterEnabled": always,
        "filterEnforced": always,
        "enableXRatelimitHeaders": "DRAFT_VERSION_03",
        "responseHeadersToAdd": [
            set_header(_RETRY_AFTER, _retry_after(listener.rate_limit)),
            # Nothing is set where the route has no such metadata.
            set_header(_RETRY_AFTER, f"%METADATA(ROUTE:{LIMITS_NAMESPACE}:{RETRY_AFTER_KEY})%"),
        ],
        "maxDynamicDescriptors": MAX_HEADER_BUCKETS,
        "rateLimits": [{"actions": actions} for actions in _once(actions for actions, _ in buckets)],
        "descriptors": [descriptor for _, descriptor in buckets],
    }
    return [extension(RATE_LIMIT_FILTER, _LIMIT, fields)]


def with_owner(route: Json, listener: Listener, owners: Mapping[str, Sequence[RateLimit]]) -> Json:
    """A route with the name of those whose limits hold for it; unchanged where there are none."""
    name = str(route.get("name"))
    if name not in owners:
        return route
    metadata: Any = route.get("metadata", {})
    limits = {OWNER_KEY: name, RETRY_AFTER_KEY: _retry_after([*listener.rate_limit, *owners[name]])}
    told = {**metadata.get("filterMetadata", {}), LIMITS_NAMESPACE: limits}
    return {**route, "metadata": {**metadata, "filterMetadata": told}}


def _buckets(owner: str, limits: Sequence[RateLimit]) -> Iterator[tuple[list[Json], Json]]:
    """Per bucket: the actions that lead a request to it, and its descriptor."""
    action: Json = {
        "metadata": {
            "descriptorKey": OWNER_KEY,
            "metadataKey": {"key": LIMITS_NAMESPACE, "path": [{"key": OWNER_KEY}]},
            "source": "ROUTE_ENTRY",
        }
    }
    for index, limit in enumerate(limits):
        for counted, entry in _counted(index, limit):
            actions = [action, counted] if owner else [counted]
            entries = [{"key": OWNER_KEY, "value": owner}, entry] if owner else [entry]
            yield actions, {"entries": entries, "tokenBucket": _bucket(limit)}


def _counted(index: int, limit: RateLimit) -> Iterator[_Counted]:
    """How a limit counts. Keys say what is counted: limits of several owners that count alike share their actions."""
    header = limit.header
    if header is None:
        key = f"{index}"
        yield {"genericKey": {"descriptorKey": key, "descriptorValue": "all"}}, {"key": key, "value": "all"}
    elif header.counts_each_value:
        key = f"{index} {header.name}"
        # An entry without a value stands for every value there is.
        yield {"requestHeaders": {"headerName": header.name, "descriptorKey": key}}, {"key": key}
        there = {"name": header.name, "presentMatch": True}
        yield _header_match(f"{key} absent", there, is_expected=False)
    else:
        condition = StringMatch(exact=header.exact, prefix=header.prefix, regex=header.regex)
        yield _header_match(f"{index} {_said(header)}", header_matcher(header.name, condition), is_expected=True)


def _header_match(key: str, header: Json, *, is_expected: bool) -> _Counted:
    match = {"descriptorKey": key, "descriptorValue": "all", "expectMatch": is_expected, "headers": [header]}
    return {"headerValueMatch": match}, {"key": key, "value": "all"}


def _said(header: RateLimitHeader) -> str:
    return json.dumps([header.name, header.exact, header.prefix, header.regex], separators=(",", ":"))


def _once(lists: Iterable[list[Json]]) -> list[list[Json]]:
    """Each list once, in order: Envoy does what each of them says for each request."""
    return list({json.dumps(actions, sort_keys=True): actions for actions in lists}.values())


def _bucket(limit: RateLimit) -> Json:
    """A bucket; it fills evenly, whatever its interval is."""
    return {
        "maxTokens": limit.burst or limit.requests,
        "tokensPerFill": limit.requests,
        "fillInterval": duration(max(FILL_STEP_MS / 1000, limit.per_s)),
    }


def _retry_after(limits: Sequence[RateLimit]) -> str:
    """Seconds after which the slowest of the buckets has a token again, at least one."""
    return str(max([1, *(math.ceil(limit.per_s / limit.requests) for limit in limits)]))
