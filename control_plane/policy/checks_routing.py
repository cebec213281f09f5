"""Rules between the values of routes: conditions that can be met, mirrors with a use, hosts that do not collide."""

import math
from collections.abc import Iterator

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.matching import MAX_WAYS, TASK_PATHS, RuleMatch, TokenRange, word_groups
from control_plane.policy.model import Listener, Model
from control_plane.policy.reader import BlockRule, Items, ListRule, Reader
from control_plane.policy.routing import BlueGreen, Mirror, Rule
from control_plane.policy.string_match import StringMatch, holds

_IDLE_BESIDE_AN_ANSWER = ("rewrite", "mirror", "mirrors", "timeout", "retries", "priority", "fallback")
_ONLY_CALLS = "only inference calls (POST) have that"
_OF_CALLS = {
    "models": "a model",
    "promptTokens": "a prompt",
    "maxTokens": "a bound on its answer",
    "tools": "tools",
}


# --- where requests go ---


def _idle_keys(rule: Rule, path: str, reader: Reader) -> None:
    """An answer of Envoy's own goes to no pool, so nothing that is about pools has an effect."""
    if rule.direct_response is not None:
        reader.report_idle(path, _IDLE_BESIDE_AN_ANSWER, "`{key}` does nothing beside `directResponse`")


def _two_colours(blue_green: BlueGreen, path: str, reader: Reader) -> None:
    """Switching from a pool to itself is a mistake."""
    if blue_green.blue == blue_green.green:
        message = f"blue and green are both the pool {quoted(blue_green.blue)}"
        reader.report_at(f"{path}.green", Code.DUPLICATE_TARGET, message, "two pools are needed to switch between them")


def _mirrors(block: Model | Rule, path: str, reader: Reader) -> None:
    """One way to write mirrors, and none to a pool that serves the same requests."""
    if block.mirror is not None and f"{path}.mirrors" in reader.marks:
        message = "`mirror` and `mirrors` say the same in two ways"
        reader.report_at(f"{path}.mirrors", Code.EXCLUSIVE_KEYS, message, "keep one of them")
    if block.mirror is None and block.mirror_percentage is not None:
        message = "`mirrorPercentage` does nothing without `mirror`"
        reader.report_at(f"{path}.mirrorPercentage", Code.NO_EFFECT, message, "each of `mirrors` has a `percentage`")
    serving = {target.pool for target in block.targets if target.weight}
    places = [f"{path}.mirror.pool"] if block.mirror else []
    places += [f"{path}.mirrors[{index}].pool" for index in range(len(block.mirrors))]
    for place, mirror in zip(places, block.all_mirrors, strict=True):
        if mirror.pool in serving:
            message = f"the pool {quoted(mirror.pool)} serves these requests, and gets copies of them, too"
            reader.report_at(place, Code.MIRROR_TO_ITSELF, message, "mirror to another pool")


# --- conditions ---


def _known_models(match: RuleMatch, path: str, reader: Reader) -> None:
    """Every name is that of a model or one of its aliases."""
    known = {*reader.defined.get("models", {}), *(alias.name for alias in reader.aliases if alias.what == "models")}
    for index, name in enumerate(match.models):
        if name not in known:
            message = f"there is no model and no alias {quoted(name)}"
            hint = reader.did_you_mean(name, known)
            reader.report_at(f"{path}.models[{index}]", Code.UNKNOWN_REFERENCE, message, hint)


def _possible(match: RuleMatch, path: str, reader: Reader) -> None:
    """Conditions that no request can meet, as far as they are certain."""
    for key, message, hint in _contradictions(match):
        reader.report_at(f"{path}.{key}", Code.IMPOSSIBLE_MATCH, message, hint)


def _expressible(match: RuleMatch, path: str, reader: Reader) -> None:
    """What Envoy has no matcher for.

    Envoys took `present_match: false` of a query parameter for `true` before they learned it. A condition on a header
    can be turned round if a missing header may count as an empty one, which must not meet it.
    """
    for name, condition in match.without_headers.items():
        if holds(condition, ""):
            message = "the opposite of a condition that an empty value meets cannot be asked for"
            reader.report_at(f"{path}.withoutHeaders.{name}", Code.UNSUPPORTED, message, "use `present: true`, or `.+`")
    for name, condition in match.query_params.items():
        if condition.present is False:
            message = "a query parameter cannot be asked to be absent: not every Envoy has that condition"
            hint = "put a rule for requests that have it before this one"
            reader.report_at(f"{path}.queryParams.{name}.present", Code.UNSUPPORTED, message, hint)


def _few_enough(match: RuleMatch, path: str, reader: Reader) -> None:
    """Long words, and lists beside lists, become many routes, which Envoy tries one after the other."""
    labels = [word for word in match.task_type if word not in TASK_PATHS]
    lists = {"userTier": match.user_tier, "region": match.region, "taskType": labels}
    groups = {key: len(word_groups(words)) for key, words in lists.items() if words}
    ways = math.prod(groups.values())
    if ways > MAX_WAYS:
        message = f"these words become {ways:,} routes, more than {MAX_WAYS}"
        hint = "fewer or shorter words; words with a common beginning are a `prefix` in `headers`"
        reader.report_at(f"{path}.{max(groups, key=groups.__getitem__)}", Code.OUT_OF_BOUNDS, message, hint)


def _contradictions(match: RuleMatch) -> Iterator[tuple[str, str, str]]:
    yield from _uri_contradictions(match)
    if match.method is not None:
        yield from _method_contradictions(match, match.method)
    for name, condition in match.headers.items():
        without = match.without_headers.get(name)
        if without is not None and (without == condition or (without.present and condition.present is not False)):
            yield f"withoutHeaders.{name}", f"{quoted(name)} is wanted and not wanted", "keep one of the two"


def _uri_contradictions(match: RuleMatch) -> Iterator[tuple[str, str, str]]:
    uri = match.uri
    start = None if uri is None else uri.exact if uri.exact is not None else uri.prefix
    if uri is None:
        return
    if start is not None and not start.startswith("/"):
        yield "uri", f"no path starts like {quoted(start)}", "paths start with `/`; host names belong to `virtualHosts`"
        return
    if start is not None and "?" in start:
        yield "uri", f"no path has a question mark as {quoted(start)} has", "use `queryParams`"
        return
    called = [path for path in TASK_PATHS.values() if holds(uri, path)]
    for key in () if called else match.asks_of_calls:
        yield key, f"no request to this path has {_OF_CALLS[key]}", _ONLY_CALLS
    if match.task_type and all(word in TASK_PATHS and TASK_PATHS[word] not in called for word in match.task_type):
        yield "taskType", "no request to this path has such a task", "the words stand for paths of their own"


def _method_contradictions(match: RuleMatch, method: StringMatch) -> Iterator[tuple[str, str, str]]:
    start = method.exact if method.exact is not None else method.prefix
    if start is not None and start.upper() != start:
        yield "method", f"no method is called {quoted(start)}", f"methods are in capitals: {start.upper()}"
        return
    if holds(method, "POST"):
        return
    for key in match.asks_of_calls:
        yield key, f"no request with this method has {_OF_CALLS[key]}", _ONLY_CALLS
    if match.task_type and all(word in TASK_PATHS for word in match.task_type):
        yield "taskType", "no request with this method has such a task", "they are POST"


def _possible_range(tokens: TokenRange, path: str, reader: Reader) -> None:
    """A range with something in it that does not hold everything."""
    if tokens.at_least is None and tokens.less_than is None:
        message = "any number of tokens is in this range"
        reader.report_at(path, Code.NO_EFFECT, message, "add `atLeast` or `lessThan`, or remove it")
    elif tokens.at_least is not None and tokens.less_than is not None and tokens.less_than <= tokens.at_least:
        message = f"no number is at least {tokens.at_least} and less than {tokens.less_than}"
        reader.report_at(f"{path}.lessThan", Code.IMPOSSIBLE_MATCH, message, "make `lessThan` the larger one")
    elif tokens.less_than == 1:
        message = "no request has less than one token"
        reader.report_at(f"{path}.lessThan", Code.IMPOSSIBLE_MATCH, message, "give a larger bound")


# --- virtual hosts ---


def _virtual_hosts(listener: Listener, path: str, reader: Reader) -> None:
    """Names and domains, each once: Envoy rejects a route table where they are not."""
    names: dict[str, str] = {}
    domains: dict[str, str] = {}
    for index, host in enumerate(listener.virtual_hosts):
        host_path = f"{path}.virtualHosts[{index}]"
        first = names.setdefault(host.name, host_path)
        if first != host_path:
            message = f"a second virtual host of this listener is named {quoted(host.name)}"
            reader.report_at(f"{host_path}.name", Code.DUPLICATE_NAME, message)
        for number, domain in enumerate(host.domains):
            place = f"{host_path}.domains[{number}]"
            owner = domains.setdefault(domain, place)
            if owner != place:
                message = f"the domain {quoted(domain)} is there already"
                hint = "a domain belongs to one virtual host of a listener"
                reader.report_at(place, Code.DUPLICATE_DOMAIN, message, hint)


def _mirrored_once(items: Items, reader: Reader) -> None:
    """A pool gets one share of copies."""
    seen: set[str] = set()
    for path, item in items.items:
        assert isinstance(item, Mirror), "the table says so"
        if item.pool in seen:
            message = f"the pool {quoted(item.pool)} is in this list already"
            reader.report_at(f"{path}.pool", Code.DUPLICATE_TARGET, message, "give it the sum of both shares")
        seen.add(item.pool)


ROUTING_RULES: dict[type, tuple[BlockRule, ...]] = {
    Model: (_mirrors,),
    Rule: (_mirrors, _idle_keys),
    BlueGreen: (_two_colours,),
    RuleMatch: (_known_models, _possible, _expressible, _few_enough),
    TokenRange: (_possible_range,),
    Listener: (_virtual_hosts,),
}
"""Kind of block → rules about one such block."""

ROUTING_LIST_RULES: dict[type, tuple[ListRule, ...]] = {Mirror: (_mirrored_once,)}
"""Kind of block → rules about a list of such blocks."""
