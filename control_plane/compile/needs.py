"""What the routes of a listener need of its filters, so that a filter that nobody needs is left out."""

from dataclasses import dataclass

from control_plane.policy.identity import needs_model
from control_plane.policy.model import Listener, Model, Policy
from control_plane.policy.routing import Rule, VirtualHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the routes of one listener ask of its filter chain."""

    model: bool = True
    """The body's model, read by Envoy."""
    bound: bool = False
    """How long the answer may become, read from the body."""
    tools: bool = False
    """Whether the body offers tools."""
    rewrite: bool = False
    """Another model's name written into bodies while the picker does not answer."""
    headers: tuple[str, ...] = ()
    """Request headers that strategies and admissions of pools look at, beside the listener's own session header."""


ORDINARY = Needs()
"""A listener with models alone, none of which has another name than the engine knows."""


def needs_of(listener: Listener, policy: Policy) -> Needs:
    """What the virtual hosts of `listener` need, all together."""
    rules = {rule.name: rule for host in hosts_of(listener) for rule in rules_of(host, policy)}.values()
    models = {model.name: model for host in hosts_of(listener) for model in models_of(host, policy)}.values()
    matches = [match for rule in rules for match in rule.match]
    bound = any(match.max_tokens is not None for match in matches)
    tools = any(match.tools is not None for match in matches)
    return Needs(
        model=bool(models)
        or any(match.models for match in matches)
        or needs_model(listener.authorization)
        or bound
        or tools,
        bound=bound,
        tools=tools,
        rewrite=any(engine_names(model) for model in models)
        or any(_rewrites(rule, policy) for rule in rules if rule.direct_response is None),
        headers=_headers(listener, policy),
    )


def hosts_of(listener: Listener) -> tuple[VirtualHost, ...]:
    """The virtual hosts of a listener: its own, or one for every host name."""
    return listener.virtual_hosts or (VirtualHost(name=listener.name, domains=("*",)),)


def models_of(host: VirtualHost, policy: Policy) -> tuple[Model, ...]:
    """The models of a virtual host, in the order of the file."""
    return tuple(model for model in policy.models if host.models is None or model.name in host.models)


def rules_of(host: VirtualHost, policy: Policy) -> tuple[Rule, ...]:
    """The rules of a virtual host, in the order of the file."""
    return tuple(rule for rule in policy.rules if host.rules is None or rule.name in host.rules)


def engine_names(model: Model) -> dict[str, str]:
    """What clients may write for `model` and the engine must not get → what it gets instead."""
    engine = model.rewrite.model if model.rewrite else model.name
    return {name: engine for name in (model.name, *model.aliases) if name != engine}


def all_engine_names(policy: Policy) -> dict[str, str]:
    """The same for all models: no two of them have a name in common."""
    return {name: engine for model in policy.models for name, engine in engine_names(model).items()}


def _headers(listener: Listener, policy: Policy) -> tuple[str, ...]:
    """Sorted, and those of all pools: which pools a listener leads to changes more often, and each change drains it."""
    sessions = [pool.picker.session for pool in policy.pools if pool.picker.asks_for_sessions]
    names = {session.http_header_name for session in sessions}
    names |= {"cookie" for session in sessions if session.http_cookie_name}
    filters = (each for pool in policy.pools for each in pool.picker.filters)
    names |= {each.batch.http_header_name for each in filters if each.batch is not None}
    for door in (pool.picker.admission for pool in policy.pools if pool.picker.admission is not None):
        names |= {name or "" for name in (door.priority_header, door.tenant_header, door.wait_header)}
    return tuple(sorted(names - {"", listener.session_header}))


def _rewrites(rule: Rule, policy: Policy) -> bool:
    return rule.rewrite is not None or bool(all_engine_names(policy))
