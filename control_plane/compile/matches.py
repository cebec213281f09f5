"""`rules[].match` as Envoy's route matches.

A rule's requests are of two classes, and an Envoy route is for one of them: *calls* (a POST to a path with a prompt,
which are read and picked) and *others*. A match that both can meet becomes routes for both.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from control_plane.compile.complexity import conditions_on_body, conditions_on_headers
from control_plane.compile.names import PICKED_PATHS
from control_plane.compile.string_matchers import header_condition, header_matcher
from control_plane.compile.typed import Json
from control_plane.policy.matching import TASK_PATHS, RuleMatch, ValueMatch, word_groups
from control_plane.policy.model import Listener, Policy
from control_plane.policy.string_match import StringMatch, holds

_METHOD = ":method"
POST: Json = {"name": _METHOD, "stringMatch": {"exact": "POST"}}

# What has a meaning in RE2 outside of brackets; escaping more (a blank, `_`) is an error there.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to meet a rule's conditions.

    `calls` are the paths with a prompt that it takes POSTs to; `path` is the condition on the path of other requests,
    None where it takes none. `models` is empty for any model.
    """

    calls: tuple[str, ...]
    path: Json | None
    method: Json | None
    headers: tuple[Json, ...]
    query_parameters: tuple[Json, ...]
    models: tuple[str, ...]
    body: tuple[Json, ...] = ()
    """Conditions on what else is read from the body."""
    asks_for_tools: bool = False

    def call_match(self, paths: tuple[str, ...]) -> Json:
        """The match for calls to those of `paths` that it takes."""
        return {**post_to(tuple(path for path in self.calls if path in paths), self.headers), **self._query()}

    def other_match(self) -> Json:
        """The match for other requests; only asked where it takes some."""
        assert self.path is not None, "asked for by the caller"
        headers = (self.method, *self.headers) if self.method else self.headers
        return {**self.path, **({"headers": list(headers)} if headers else {}), **self._query()}

    def _query(self) -> Json:
        return {"queryParameters": list(self.query_parameters)} if self.query_parameters else {}


def alternatives(matches: tuple[RuleMatch, ...], listener: Listener, policy: Policy) -> list[Alternative]:
    """The ways to meet one of `matches`; without any: every request."""
    found: list[Alternative] = []
    for match in matches or (RuleMatch(),):
        tasks = [word for word in match.task_type if word in TASK_PATHS]
        labels = tuple(word for word in match.task_type if word not in TASK_PATHS)
        for words in _words(match, listener):
            if tasks:
                found.append(_alternative(match, policy, words, tuple(TASK_PATHS[word] for word in tasks)))
            found.extend(
                _alternative(match, policy, (*words, label)) for label in _any_of(listener.task_header, labels)
            )
            if not match.task_type:
                found.append(_alternative(match, policy, words))
    return found


def _alternative(
    match: RuleMatch, policy: Policy, words: tuple[Json, ...], only: tuple[str, ...] | None = None
) -> Alternative:
    """One match with the conditions on headers that its `words` are, and `only` these paths."""
    is_post = match.method is None or holds(match.method, "POST")
    calls: tuple[str, ...] = PICKED_PATHS if is_post else ()
    if match.uri is not None:
        calls = tuple(path for path in calls if holds(match.uri, path))
    if only is not None:
        calls = tuple(path for path in calls if path in only)
    of_calls = only is not None or bool(match.asks_of_calls)
    return Alternative(
        calls=calls,
        path=None if of_calls or _is_call(match) else _path(match.uri),
        method=None if match.method is None else header_matcher(_METHOD, match.method),
        headers=(*_headers(match), *words, *conditions_on_headers(match)),
        query_parameters=tuple(_parameter(name, condition) for name, condition in match.query_params.items()),
        models=policy.names_of(match.models),
        body=conditions_on_body(match),
        asks_for_tools=match.tools is not None,
    )


def _is_call(match: RuleMatch) -> bool:
    """Whether path and method leave nothing but calls."""
    uri, method = match.uri, match.method
    return uri is not None and uri.exact in PICKED_PATHS and method is not None and method.exact == "POST"


def post_to(paths: tuple[str, ...], headers: tuple[Json, ...] = ()) -> Json:
    """A match on the method and on exactly these paths; the query string does not count."""
    alternatives = "|".join(path.replace(".", "[.]") for path in paths)
    return {"safeRegex": {"regex": alternatives}, "headers": [POST, *headers]}


def _path(uri: StringMatch | None) -> Json:
    if uri is None:
        return {"prefix": "/"}
    if uri.exact is not None:
        return {"path": uri.exact}
    return {"prefix": uri.prefix} if uri.prefix is not None else {"safeRegex": {"regex": uri.regex}}


def _headers(match: RuleMatch) -> tuple[Json, ...]:
    return (
        *(header_condition(name, condition) for name, condition in _in_order(match.headers)),
        *(_without(name, condition) for name, condition in _in_order(match.without_headers)),
    )


def _words(match: RuleMatch, listener: Listener) -> Iterator[tuple[Json, ...]]:
    """The conditions on tier and region, in every way to meet them; one empty way where there are no words."""
    lists = ((listener.tier_header, match.user_tier), (listener.region_header, match.region))
    return itertools.product(*(_any_of(name, values) for name, values in lists if values))


def _in_order(conditions: Mapping[str, ValueMatch]) -> list[tuple[str, ValueMatch]]:
    """By name: the order of the keys of a mapping means nothing, and must not change a version."""
    return sorted(conditions.items(), key=lambda pair: pair[0])


def _without(name: str, condition: ValueMatch) -> Json:
    """The opposite. A header that is missing does not meet a condition on its value, so its opposite holds; Envoy only
    says so if a missing header counts as an empty one."""
    if condition.present is not None:
        return {"name": name, "presentMatch": not condition.present}
    return header_matcher(name, condition) | {"invertMatch": True, "treatMissingHeaderAsEmpty": True}


def _parameter(name: str, condition: ValueMatch) -> Json:
    if condition.present is not None:
        return {"name": name, "presentMatch": condition.present}
    return header_matcher(name, condition)


def _any_of(name: str, values: tuple[str, ...]) -> list[Json]:
    """Conditions of which one is to be met: a header is compared with one text, or with an expression as long as Envoy
    takes it."""
    return [_one_of(name, group) for group in word_groups(values)]


def _one_of(name: str, values: list[str]) -> Json:
    if len(values) == 1:
        return {"name": name, "stringMatch": {"exact": values[0]}}
    either = "|".join(_SPECIAL.sub(r"\\\g<0>", value) for value in values)
    return {"name": name, "stringMatch": {"safeRegex": {"regex": either}}}
