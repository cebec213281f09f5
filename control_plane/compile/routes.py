"""Routes: by model to pools, with Envoy's own answers for requests that have no place to go.

All of it works without the picker. A request first matches by its path alone (which decides what its filter chain is
made of), then again once `json_to_metadata` has read the body.
"""

import json

from control_plane.compile import openai_errors
from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.filters import MODEL_FILTER, USAGE_FILTER, filter_disabled, picker_disabled
from control_plane.compile.local_replies import JSON_CONTENT_TYPE
from control_plane.compile.names import (
    BODY_KEY,
    BODY_NOT_JSON,
    BODY_WITHOUT_MODEL,
    DEFAULT_ROUTE,
    EMBEDDINGS_PATH,
    GENERATION_PATHS,
    KVPILOT_NAMESPACE,
    MODEL_KEY,
    NO_MODEL_ROUTE,
    NOT_JSON_ROUTE,
    PICKED_PATHS,
    STREAM_KEY,
    UNKNOWN_MODEL_ROUTE,
    cluster_name,
    model_route_name,
)
from control_plane.compile.openai_errors import LocalError
from control_plane.compile.retries import retry_policy
from control_plane.compile.typed import Json, duration
from control_plane.policy.model import Listener, Model, Policy, Pool, RouteTarget

UPLOAD_IDLE_TIMEOUT_S = 60.0
"""How long a client may stop in the middle of its request."""

HELD_ANSWER_BYTES = 64 * 1024 * 1024
"""The largest plain answer that Envoy holds; a larger one becomes an error 500. An ordinary answer has kilobytes, one
with the log-probabilities of some thousand tokens has megabytes."""

NO_IDLE_TIMEOUT_S = 0.0
"""Envoy's way to say: none."""


def route_configuration(listener: Listener, policy: Policy, capabilities: Capabilities) -> Json:
    """The `RouteConfiguration` of `listener`, named like it."""
    routes: list[Json] = []
    if capabilities.has(Feature.MODEL_ROUTING):
        for model in policy.models:
            routes.extend(_model_routes(model, listener, policy, capabilities))
        routes.extend(_refusals(capabilities))
    routes.extend(_defaults(listener, policy, capabilities))
    host: Json = {"name": listener.name, "domains": ["*"], "routes": routes}
    if capabilities.has(Feature.BODY_LIMIT_PER_HOST):
        host["requestBodyBufferLimit"] = str(listener.max_request_bytes)
    return {"name": listener.name, "virtualHosts": [host]}


def _model_routes(model: Model, listener: Listener, policy: Policy, capabilities: Capabilities) -> list[Json]:
    """Two routes with one name: streamed answers have an idle timeout, plain ones do not.

    A plain answer is silent from the request to the last token of its generation, so silence says nothing about it; it
    has the request's timeout alone. Envoy's idle timer also runs before an answer's first byte, so it is never shorter
    than the first byte's own limit.
    """
    is_model = _metadata(MODEL_KEY, _one_of((model.name, *model.aliases)))
    is_stream = _metadata(STREAM_KEY, {"boolMatch": True})
    action = _forward(model.route, listener, policy, capabilities)
    pools = _served(model.route, policy)
    idle_s = max(max(pool.timeouts.idle_s, pool.timeouts.first_byte_s or 0.0) for pool in pools)
    return [
        {
            "name": model_route_name(model.name),
            "match": {**_post_to(PICKED_PATHS), "dynamicMetadata": conditions},
            "route": {**action, "idleTimeout": duration(idle_s)},
            **_answer_limit(listener, capabilities),
        }
        for conditions, idle_s in (([is_model, is_stream], idle_s), ([is_model], NO_IDLE_TIMEOUT_S))
    ]


def _answer_limit(listener: Listener, capabilities: Capabilities) -> Json:
    """Lifts the body limit from the request, which is complete when this route is chosen, for the answer's sake.

    Envoy has one limit for what it holds of a request and of its answer; a plain answer is held while its token usage
    is read, and must not fail because it is larger than what clients may send.
    """
    if not capabilities.has(Feature.BODY_LIMIT_PER_HOST):
        return {}
    return {"requestBodyBufferLimit": str(max(HELD_ANSWER_BYTES, listener.max_request_bytes))}


def _one_of(names: tuple[str, ...]) -> Json:
    matchers: list[Json] = [{"stringMatch": {"exact": name}} for name in names]
    return matchers[0] if len(matchers) == 1 else {"orMatch": {"valueMatchers": matchers}}


def _metadata(key: str, value: Json) -> Json:
    return {"filter": KVPILOT_NAMESPACE, "path": [{"key": key}], "value": value}


def _post_to(paths: tuple[str, ...]) -> Json:
    """A match on the method and on exactly these paths; the query string does not count."""
    alternatives = "|".join(path.replace(".", "[.]") for path in paths)
    return {
        "safeRegex": {"regex": alternatives},
        "headers": [{"name": ":method", "stringMatch": {"exact": "POST"}}],
    }


def _forward(route: tuple[RouteTarget, ...], listener: Listener, policy: Policy, capabilities: Capabilities) -> Json:
    """To one pool, or split over several by weight, a session always to the same one.

    A route has one timeout: the longest of its pools'. Unless this Envoy takes retry settings from the cluster it has
    one retry policy, too: the first pool's.
    """
    first = policy.pool(route[0].pool)
    action: Json = {"timeout": duration(max(pool.timeouts.request_s for pool in _served(route, policy)))}
    if not capabilities.has(Feature.RETRIES_PER_POOL):
        retries = retry_policy(first.retries, capabilities)
        if retries is not None:
            action["retryPolicy"] = retries
    if len(route) == 1:
        return action | {"cluster": cluster_name(first.name)}
    split: Json = {
        "clusters": [{"name": cluster_name(target.pool), "weight": target.weight} for target in route],
    }
    if capabilities.has(Feature.STICKY_CANARY):
        split["useHashPolicy"] = True
        action["hashPolicy"] = [{"header": {"headerName": listener.session_header}}]
    return action | {"weightedClusters": split}


def _served(route: tuple[RouteTarget, ...], policy: Policy) -> list[Pool]:
    """The pools of a route that get requests."""
    return [policy.pool(target.pool) for target in route if target.weight]


def _refusals(capabilities: Capabilities) -> list[Json]:
    """Envoy's own answers to bodies that no model's route took."""
    filters = picker_disabled() if capabilities.has(Feature.PICKER) else {}
    refused = (
        (NOT_JSON_ROUTE, _metadata(BODY_KEY, _one_of((BODY_NOT_JSON,))), openai_errors.NOT_JSON),
        (NO_MODEL_ROUTE, _metadata(BODY_KEY, _one_of((BODY_WITHOUT_MODEL,))), openai_errors.NO_MODEL),
        (UNKNOWN_MODEL_ROUTE, _metadata(MODEL_KEY, {"presentMatch": True}), openai_errors.UNKNOWN_MODEL_UNNAMED),
    )
    return [
        _refusal(name, {**_post_to(PICKED_PATHS), "dynamicMetadata": [condition]}, error, filters)
        for name, condition, error in refused
    ]


def _refusal(name: str, match: Json, error: LocalError, filters: Json) -> Json:
    content_type = {"key": "content-type", "value": JSON_CONTENT_TYPE}
    return {
        "name": name,
        "match": match,
        "directResponse": {"status": error.status, "body": {"inlineString": json.dumps(error.body())}},
        "responseHeadersToAdd": [{"header": content_type, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "typedPerFilterConfig": filters,
    }


def _defaults(listener: Listener, policy: Policy, capabilities: Capabilities) -> list[Json]:
    """Everything else, to the listener's default pool.

    The first two are what a POST with a prompt matches before its body was read. They must be routes to a cluster:
    while a body comes in, the virtual host's body limit holds for such a route only (with a direct response here, an
    HTTP/2 body could not exceed the stream's window). Afterwards they serve what has no model routes at all, for an
    Envoy that cannot read bodies.

    Headers alone select these routes, so they also decide what a request's filter chain is made of: answers to
    embeddings and to other paths are not held back to read their usage (they can be larger than what Envoy may hold),
    and bodies to other paths are not searched for a model.
    """
    target = RouteTarget(pool=listener.default_pool or policy.pools[0].name)
    action = _forward((target,), listener, policy, capabilities)
    unread = {**action, "idleTimeout": duration(UPLOAD_IDLE_TIMEOUT_S)}
    # Nothing here is known to be a stream, so nothing idles out.
    other = {**action, "idleTimeout": duration(NO_IDLE_TIMEOUT_S)}
    reads_bodies = capabilities.has(Feature.MODEL_ROUTING)
    no_usage = filter_disabled(USAGE_FILTER) if reads_bodies else {}
    no_model = {**no_usage, **filter_disabled(MODEL_FILTER)} if reads_bodies else {}
    no_picker = picker_disabled() if capabilities.has(Feature.PICKER) else {}
    if not reads_bodies:
        unread = other
    return [
        _route(DEFAULT_ROUTE, _post_to((EMBEDDINGS_PATH,)), unread, no_usage),
        _route(DEFAULT_ROUTE, _post_to(GENERATION_PATHS), unread, {}),
        _route(DEFAULT_ROUTE, {"prefix": "/"}, other, no_model | no_picker),
    ]


def _route(name: str, match: Json, action: Json, filters: Json) -> Json:
    route: Json = {"name": name, "match": match, "route": action}
    if filters:
        route["typedPerFilterConfig"] = filters
    return route
