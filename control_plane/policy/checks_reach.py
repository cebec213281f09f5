"""Which rules a request can reach: a rule behind one that takes all of its requests is never used."""

from collections.abc import Iterator

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.matching import RuleMatch, TokenRange
from control_plane.policy.model import Policy
from control_plane.policy.reader import Reader
from control_plane.policy.routing import Rule

MAX_COMPARED = 200
"""Rules that are compared with each other. The work grows with the square; a longer list was made by a program."""

_EVERY_REQUEST = (RuleMatch(),)


def check_reach(policy: Policy, reader: Reader) -> None:
    """Warns of rules that no request reaches and of things that no virtual host has."""
    hosts = list(_hosts(policy))
    rules = policy.rules[:MAX_COMPARED]
    for index, rule in enumerate(rules):
        own = [names for names in hosts if rule.name in names]
        if not own:
            message = f"no virtual host has the rule {quoted(rule.name)}"
            reader.report_at(f"rules.{rule.name}", Code.NO_EFFECT, message, "name it in one of the `virtualHosts`")
            continue
        for earlier in rules[:index]:
            if all(earlier.name in names for names in own) and takes_all(earlier, rule, policy):
                message = f"no request reaches the rule {quoted(rule.name)}: {quoted(earlier.name)} takes them all"
                hint = "the first rule that matches decides: put the narrower one first"
                reader.report_at(f"rules.{rule.name}", Code.SHADOWED_RULE, message, hint)
                break


def _hosts(policy: Policy) -> Iterator[frozenset[str]]:
    every = frozenset(rule.name for rule in policy.rules)
    for listener in policy.listeners:
        if not listener.virtual_hosts:
            yield every
        for host in listener.virtual_hosts:
            yield every if host.rules is None else frozenset(host.rules)


def takes_all(earlier: Rule, later: Rule, policy: Policy) -> bool:
    """Whether each request of `later` is one of `earlier`, as far as their conditions can be compared."""
    wider = earlier.match or _EVERY_REQUEST
    return all(any(_is_wider(one, match, policy) for one in wider) for match in later.match or _EVERY_REQUEST)


def _is_wider(one: RuleMatch, other: RuleMatch, policy: Policy) -> bool:
    """Whether `other` has every condition of `one`, or a narrower form of it."""
    return (
        one.headers.items() <= other.headers.items()
        and one.without_headers.items() <= other.without_headers.items()
        and one.query_params.items() <= other.query_params.items()
        and (one.uri is None or _is_wider_path(one, other))
        and (one.method is None or one.method == other.method)
        and _are_wider(_model_names(one, policy), _model_names(other, policy))
        and _are_wider(one.task_type, other.task_type)
        and _are_wider(one.user_tier, other.user_tier)
        and _are_wider(one.region, other.region)
        and _is_wider_range(one.prompt_tokens, other.prompt_tokens)
        and _is_wider_range(one.max_tokens, other.max_tokens)
        and one.tools in (None, other.tools)
    )


def _is_wider_path(one: RuleMatch, other: RuleMatch) -> bool:
    if one.uri == other.uri:
        return True
    if one.uri is None or one.uri.prefix is None or other.uri is None:
        return False
    start = other.uri.exact if other.uri.exact is not None else other.uri.prefix
    return start is not None and start.startswith(one.uri.prefix)


def _model_names(match: RuleMatch, policy: Policy) -> tuple[str, ...]:
    """The names in a body that the condition takes."""
    return policy.names_of(match.models)


def _are_wider(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return not one or (bool(other) and set(other) <= set(one))


def _is_wider_range(one: TokenRange | None, other: TokenRange | None) -> bool:
    """Whether each number of `other` is one of `one`; no range: any number, and none at all."""
    if one is None:
        return True
    if other is None:
        return False
    starts_before = (one.at_least or 0) <= (other.at_least or 0)
    ends_behind = one.less_than is None or (other.less_than is not None and other.less_than <= one.less_than)
    return starts_before and ends_behind
