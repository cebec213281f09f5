"""Routes: by rules and models to pools, with Envoy's own answers for requests that have no place to go.

All of it works without the picker. A request first matches by its headers alone (which decides what its filter chain is
made of), then again once `json_to_metadata` has read the body. So the routes of a virtual host stand in layers, behind
those that only the picker chooses (`detours`):

1. rules and then models, for calls (POSTs to a path with a prompt) whose body was read;
2. what is wrong with a body;
3. the default pool for calls: what a call matches before its body was read;
4. rules for all other requests;
5. the default pool for all other requests.

Layers 1 and 2 ask for what only the body tells, so the first time a call passes them by. Where no route of the listener
needs the body's model it is not read, and rules for calls go by headers alone.
"""

from collections.abc import Iterator

from control_plane.compile import openai_errors
from control_plane.compile.actions import NO_IDLE_TIMEOUT_S, Actions, routed_retries
from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.complexity import TOOLS_FILTER
from control_plane.compile.controls import controls_of
from control_plane.compile.detours import detour_routes
from control_plane.compile.direct_answers import answer, error_of
from control_plane.compile.faults import fault_per_route
from control_plane.compile.filters import (
    BUFFER_FILTER,
    HEADERS_FILTER,
    MODEL_FILTER,
    answer_marked,
    filter_disabled,
    first_byte_limited,
    picker_disabled,
)
from control_plane.compile.matches import Alternative, alternatives, post_to
from control_plane.compile.model_rewrite import names_for_all, rewrite_by_all, rewrite_of
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
    model_route_name,
    rule_route_name,
)
from control_plane.compile.needs import (
    Needs,
    all_engine_names,
    engine_names,
    hosts_of,
    models_of,
    needs_of,
    rules_of,
)
from control_plane.compile.rate_limits import with_owner
from control_plane.compile.string_matchers import metadata_matcher
from control_plane.compile.typed import Json, duration
from control_plane.compile.usage import USAGE_FILTER
from control_plane.policy.model import Listener, Model, Policy, RouteTarget, Rule, VirtualHost
from control_plane.policy.ways import detour_pools

UPLOAD_IDLE_TIMEOUT_S = 60.0
"""How long a client may stop in the middle of its request."""

HELD_ANSWER_BYTES = 64 * 1024 * 1024
"""The largest plain answer that Envoy holds; a larger one becomes an error 500. An ordinary answer has kilobytes, one
with the log-probabilities of some thousand tokens has megabytes."""


def route_configuration(listener: Listener, policy: Policy, capabilities: Capabilities) -> Json:
    """The `RouteConfiguration` of `listener`, named like it."""
    table = _Table(listener, policy, capabilities, needs_of(listener, policy))
    resource: Json = {
        "name": listener.name,
        "virtualHosts": [table.virtual_host(host) for host in hosts_of(listener)],
        **table.for_all_routes(),
    }
    if listener.virtual_hosts:
        # Clients name the port of an address that is not the usual one; a virtual host is meant for every port.
        resource["ignorePortInHostMatching"] = True
    return resource


def per_route_filters(owner: Rule | Model, listener: Listener, capabilities: Capabilities) -> Json:
    """What the routes of a rule or a model change in the filters of their listener: filter name → its message.

    Filters that stand behind `json_to_metadata` see it. Each comes from the module of its filter.
    """
    return fault_per_route(owner.fault, capabilities)


class _Table:
    """Builds the routes of one listener. Immutable."""

    def __init__(self, listener: Listener, policy: Policy, capabilities: Capabilities, needs: Needs) -> None:
        self._listener = listener
        self._policy = policy
        self._capabilities = capabilities
        self._actions = Actions(listener, policy, capabilities, routed_retries(policy))
        self._engine_names = all_engine_names(policy)
        self._reads_bodies = capabilities.has(Feature.MODEL_ROUTING) and needs.model
        self._looks_for_tools = capabilities.has(Feature.TOOLS) and needs.tools
        self._limits = controls_of(listener, policy).limits if capabilities.has(Feature.RATE_LIMITS) else {}

    def virtual_host(self, host: VirtualHost) -> Json:
        """A virtual host with its routes in their layers."""
        rules, models = rules_of(host, self._policy), models_of(host, self._policy)
        routes: list[Json] = list(self._detours())
        for rule in rules:
            routes.extend(self._rule_for_calls(rule))
        if self._reads_bodies:
            for model in models:
                routes.extend(self._model(model))
            routes.extend(self._refusals(bool(models)))
            if not models:
                routes.extend(self._default_for_read_calls(host))
        routes.extend(self._default_for_calls(host))
        for rule in rules:
            routes.extend(self._rule_for_others(rule))
        routes.append(self._default_for_others(host))
        limited = [with_owner(route, self._listener, self._limits) for route in routes]
        resource: Json = {"name": host.name, "domains": list(host.domains), "routes": limited}
        if self._capabilities.has(Feature.BODY_LIMIT_PER_HOST):
            resource["requestBodyBufferLimit"] = str(self._listener.max_request_bytes)
        return resource

    def _detours(self) -> Iterator[Json]:
        """Where the picker may lead requests; those of the whole policy, so that an edit changes them everywhere."""
        if not self._capabilities.has(Feature.PICKER):
            return
        for pool in detour_pools(self._policy):
            for route in detour_routes(pool, self._actions, reads_bodies=self._reads_bodies):
                yield {**route, **self._answer_limit()}

    def for_all_routes(self) -> Json:
        """What stands once in the configuration because many routes need it."""
        rules = [rule for host in hosts_of(self._listener) for rule in rules_of(host, self._policy)]
        if not any(_goes_by_any_name(rule) for rule in rules):
            return {}
        return names_for_all(self._engine_names, self._capabilities)

    # --- rules ---

    def _rule_for_calls(self, rule: Rule) -> list[Json]:
        """A rule's routes for requests with a prompt, first those that only the body's model tells."""
        found: list[Json] = []
        for way in self._ways(rule):
            if not way.calls or not self._can_judge(way):
                continue
            if rule.direct_response is not None:
                found.append(self._answer(rule, self._call(way, PICKED_PATHS), was_read=self._reads_bodies))
            elif self._reads_bodies:
                found.extend(self._read(rule, rule_route_name(rule.name), self._call(way, PICKED_PATHS)))
            else:
                found.extend(self._unread(rule, way))
        return found

    def _can_judge(self, way: Alternative) -> bool:
        """Whether this Envoy reads what the conditions look at."""
        if way.asks_for_tools and not self._capabilities.has(Feature.TOOLS):
            return False
        return self._reads_bodies or not (way.models or way.body)

    def _call(self, way: Alternative, paths: tuple[str, ...]) -> Json:
        match = way.call_match(paths)
        if not self._reads_bodies:
            return match
        # A body that names no model is refused further on, whatever else it is.
        named: Json = _one_of(way.models) if way.models else {"presentMatch": True}
        return {**match, "dynamicMetadata": [_metadata(MODEL_KEY, named), *way.body]}

    def _unread(self, rule: Rule, way: Alternative) -> list[Json]:
        """For calls whose body Envoy does not read: whether they are streams is not known, so nothing idles out."""
        action = self._actions.forward(rule)
        action["idleTimeout"] = duration(NO_IDLE_TIMEOUT_S)
        return [
            self._call_route(rule, rule_route_name(rule.name), way.call_match(paths), action, filters)
            for paths, filters in (((EMBEDDINGS_PATH,), self._without_usage()), (GENERATION_PATHS, {}))
            if set(paths) & set(way.calls)
        ]

    def _rule_for_others(self, rule: Rule) -> list[Json]:
        """A rule's routes for requests that are not picked."""
        ways = [way for way in self._ways(rule) if way.path is not None]
        if rule.direct_response is not None:
            return [self._answer(rule, way.other_match(), was_read=False) for way in ways]
        name = rule_route_name(rule.name)
        action = self._actions.forward(rule)
        action["idleTimeout"] = duration(NO_IDLE_TIMEOUT_S)
        filters = self._not_a_call() | per_route_filters(rule, self._listener, self._capabilities)
        return [_route(name, way.other_match(), action, filters) for way in ways]

    def _ways(self, rule: Rule) -> list[Alternative]:
        return alternatives(rule.match, self._listener, self._policy)

    def _answer(self, rule: Rule, match: Json, *, was_read: bool) -> Json:
        """A rule's own answer. Where the body was not read already, nothing waits for it."""
        assert rule.direct_response is not None, "asked for by the caller"
        filters = self._not_picked() if was_read else self._not_a_call()
        if not was_read and self._capabilities.has(Feature.BODY_HOLDING):
            filters |= filter_disabled(BUFFER_FILTER)
        if self._capabilities.has(Feature.HEADERS_FROM_METADATA):
            filters |= {HEADERS_FILTER: answer_marked()}
        filters |= per_route_filters(rule, self._listener, self._capabilities)
        return answer(rule_route_name(rule.name), match, error_of(rule.direct_response), filters)

    # --- models ---

    def _model(self, model: Model) -> list[Json]:
        is_model = _metadata(MODEL_KEY, _one_of((model.name, *model.aliases)))
        match = {**post_to(PICKED_PATHS), "dynamicMetadata": [is_model]}
        return self._read(model, model_route_name(model.name), match)

    def _read(self, owner: Rule | Model, name: str, match: Json) -> list[Json]:
        """Two routes with one name: streamed answers have an idle timeout, plain ones do not.

        A plain answer is silent from the request to the last token of its generation, so silence says nothing about it;
        it has the request's timeout alone.
        """
        action = self._actions.forward(owner)
        return [
            {**self._call_route(owner, name, asked, {**action, "idleTimeout": idle}, filters), **self._answer_limit()}
            for asked, idle, filters in self._by_stream(match, owner.targets)
        ]

    def _by_stream(self, match: Json, route: tuple[RouteTarget, ...]) -> list[tuple[Json, str, Json]]:
        """The match for streams and that for all other calls, each with its idle timeout and what it changes in
        filters."""
        conditions: list[Json] = list(match["dynamicMetadata"])  # type: ignore[call-overload]
        is_stream = _metadata(STREAM_KEY, {"boolMatch": True})
        limited = self._first_byte_limit(route)
        return [
            ({**match, "dynamicMetadata": [*conditions, is_stream]}, duration(self._actions.idle_s(route)), limited),
            (match, duration(NO_IDLE_TIMEOUT_S), {}),
        ]

    def _first_byte_limit(self, route: tuple[RouteTarget, ...]) -> Json:
        """What a pod that hangs costs a stream to which no picker has given a limit."""
        limit_s = self._actions.first_byte_s(route)
        if limit_s is None or not self._capabilities.has(Feature.HEADERS_FROM_METADATA):
            return {}
        return {HEADERS_FILTER: first_byte_limited(limit_s)}

    def _call_route(self, owner: Rule | Model, name: str, match: Json, action: Json, filters: Json) -> Json:
        """A route for calls, with what its rule or model asks of the filters."""
        rewrite = self._rewrite(owner)
        asked: Json = rewrite.pop("typedPerFilterConfig", {})  # type: ignore[assignment]
        own = {**filters, **per_route_filters(owner, self._listener, self._capabilities), **asked}
        return {**_route(name, match, action, own), **rewrite}

    def _rewrite(self, owner: Rule | Model) -> Json:
        """What the engine is asked for: always this, or by what the body says."""
        if owner.rewrite is not None:
            return rewrite_of(owner.rewrite.model, {}, self._capabilities)
        if isinstance(owner, Model):
            return rewrite_of(owner.name if engine_names(owner) else "", {}, self._capabilities)
        if _goes_by_any_name(owner):
            return rewrite_by_all(self._capabilities) if self._engine_names else {}
        possible = self._policy.names_of(tuple(name for match in owner.match for name in match.models))
        names = {name: self._engine_names[name] for name in possible if name in self._engine_names}
        return rewrite_of("", names, self._capabilities)

    def _answer_limit(self) -> Json:
        """Lifts the body limit from the request, which is complete when this route is chosen, for the answer's sake.

        Envoy has one limit for what it holds of a request and of its answer; a plain answer is held while its token
        usage is read, and must not fail because it is larger than what clients may send.
        """
        if not self._capabilities.has(Feature.BODY_LIMIT_PER_HOST):
            return {}
        return {"requestBodyBufferLimit": str(max(HELD_ANSWER_BYTES, self._listener.max_request_bytes))}

    # --- what nobody takes ---

    def _refusals(self, has_models: bool) -> list[Json]:
        """Envoy's own answers to bodies that no model's route took."""
        filters = self._not_picked()
        refused = [
            (NOT_JSON_ROUTE, _metadata(BODY_KEY, _one_of((BODY_NOT_JSON,))), openai_errors.NOT_JSON),
            (NO_MODEL_ROUTE, _metadata(BODY_KEY, _one_of((BODY_WITHOUT_MODEL,))), openai_errors.NO_MODEL),
        ]
        if has_models:
            unknown = _metadata(MODEL_KEY, {"presentMatch": True})
            refused.append((UNKNOWN_MODEL_ROUTE, unknown, openai_errors.UNKNOWN_MODEL_UNNAMED))
        return [
            answer(name, {**post_to(PICKED_PATHS), "dynamicMetadata": [condition]}, error, filters)
            for name, condition, error in refused
        ]

    def _default_for_read_calls(self, host: VirtualHost) -> list[Json]:
        """Where calls go that no rule takes, of a virtual host that serves no model by its name."""
        pool = self._default_target(host)
        match = {**post_to(PICKED_PATHS), "dynamicMetadata": [_metadata(MODEL_KEY, {"presentMatch": True})]}
        return [
            {
                **_route(DEFAULT_ROUTE, asked, {**self._actions.to(pool), "idleTimeout": idle}, filters),
                **self._answer_limit(),
            }
            for asked, idle, filters in self._by_stream(match, pool)
        ]

    def _default_for_calls(self, host: VirtualHost) -> list[Json]:
        """What a POST with a prompt matches before its body was read, or where it is not read at all.

        These must be routes to a cluster: while a body comes in, the virtual host's body limit holds for such a route
        only (with a direct response here, an HTTP/2 body could not exceed the stream's window). Afterwards they serve
        what has no model routes at all, as for an Envoy that cannot read bodies.

        Headers alone select these routes, so they also decide what a request's filter chain is made of: answers to
        embeddings are not held back to read their usage (they can be larger than what Envoy may hold).
        """
        # Unread, nothing is known to be a stream, so nothing idles out.
        idle = UPLOAD_IDLE_TIMEOUT_S if self._reads_bodies else NO_IDLE_TIMEOUT_S
        action = {**self._default_action(host), "idleTimeout": duration(idle)}
        return [
            _route(DEFAULT_ROUTE, post_to((EMBEDDINGS_PATH,)), action, self._without_usage()),
            _route(DEFAULT_ROUTE, post_to(GENERATION_PATHS), action, {}),
        ]

    def _default_for_others(self, host: VirtualHost) -> Json:
        action = {**self._default_action(host), "idleTimeout": duration(NO_IDLE_TIMEOUT_S)}
        return _route(DEFAULT_ROUTE, {"prefix": "/"}, action, self._not_a_call())

    def _default_action(self, host: VirtualHost) -> Json:
        return self._actions.to(self._default_target(host))

    def _default_target(self, host: VirtualHost) -> tuple[RouteTarget, ...]:
        return (RouteTarget(pool=host.default_pool or self._listener.default_pool or self._policy.pools[0].name),)

    def _without_usage(self) -> Json:
        has_filter = self._capabilities.has(Feature.MODEL_ROUTING) and self._policy.feedback.usage
        return filter_disabled(USAGE_FILTER) if has_filter else {}

    def _not_a_call(self) -> Json:
        """For other paths: no search for a model, no answer held back, no pick."""
        filters = self._without_usage()
        if self._reads_bodies:
            filters |= filter_disabled(MODEL_FILTER)
            filters |= filter_disabled(TOOLS_FILTER) if self._looks_for_tools else {}
        return filters | self._not_picked()

    def _not_picked(self) -> Json:
        return picker_disabled() if self._capabilities.has(Feature.PICKER) else {}


def _goes_by_any_name(rule: Rule) -> bool:
    """Whether the rule's requests may be for any model, and each is to be asked for by its own name."""
    if rule.rewrite is not None or rule.direct_response is not None:
        return False
    return not rule.match or not all(match.models for match in rule.match)


def _one_of(names: tuple[str, ...]) -> Json:
    matchers: list[Json] = [{"stringMatch": {"exact": name}} for name in names]
    return matchers[0] if len(matchers) == 1 else {"orMatch": {"valueMatchers": matchers}}


def _metadata(key: str, value: Json) -> Json:
    return metadata_matcher(KVPILOT_NAMESPACE, (key,), value)


def _route(name: str, match: Json, action: Json, filters: Json) -> Json:
    route: Json = {"name": name, "match": match, "route": action}
    if filters:
        route["typedPerFilterConfig"] = filters
    return route
