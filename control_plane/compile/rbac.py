"""Authorization: two `rbac` filters, first what is denied, then what is allowed.

They stand behind the filters that know the token's claims and the body's model. A rule of the policy becomes a policy
of the filter, `<name>[<rule>]`, which the response code details name when it refuses. Source: Envoy's page "Role Based
Access Control", `envoy.config.rbac.v3`; how words are matched is Istio's.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence

from control_plane.compile.jwt import JWT_FILTER, PAYLOAD
from control_plane.compile.names import KVPILOT_NAMESPACE, MODEL_KEY
from control_plane.compile.string_matchers import metadata_matcher, pattern_matcher
from control_plane.compile.typed import Json, extension
from control_plane.policy.identity import (
    ALLOW,
    DENY,
    AuthorizationPolicy,
    AuthorizationRule,
    Condition,
    Operation,
    Source,
)
from control_plane.policy.identity_kinds import key_parts
from control_plane.policy.model import Listener
from control_plane.policy.regex import MAX_PROGRAM, program_size
from control_plane.policy.security import SPIFFE

DENY_FILTER = "kvpilot.deny"
ALLOW_FILTER = "kvpilot.allow"

_ANY: Json = {"any": True}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")
"""Texts that may stand for a number in a claim: what a double holds exactly enough to be compared."""

_One = Callable[[str], Json]
"""From one text of the policy to a permission or a principal that it matches."""


def rbac_filters(listener: Listener) -> list[Json]:
    """The filters of a listener, in their order; none where it has no policies."""
    found = []
    for name, action in ((DENY_FILTER, DENY), (ALLOW_FILTER, ALLOW)):
        policies = [policy for policy in listener.authorization if policy.action == action]
        if policies:
            found.append(_filter(name, action, policies))
    return found


def _filter(name: str, action: str, policies: Sequence[AuthorizationPolicy]) -> Json:
    rules = {
        f"{policy.name}[{index}]": {"permissions": [_permission(rule)], "principals": [_principal(rule)]}
        for policy in policies
        for index, rule in enumerate(policy.rules)
    }
    return extension(
        name, "envoy.extensions.filters.http.rbac.v3.RBAC", {"rules": {"action": action, "policies": rules}}
    )


def _permission(rule: AuthorizationRule) -> Json:
    operations = [_operation(item.operation) for item in rule.to]
    conditions = [
        _condition(item, _PERMISSION_OF[item.key], "notRule", "orRules", "rules")
        for item in rule.when
        if item.key in _PERMISSION_OF
    ]
    parts = ([_any_of(operations, "orRules", "rules")] if operations else []) + conditions
    return _all_of(parts, "andRules", "rules")


def _principal(rule: AuthorizationRule) -> Json:
    sources = [_source(item.source) for item in rule.from_]
    conditions = [
        _condition(item, _principal_of(item), "notId", "orIds", "ids")
        for item in rule.when
        if item.key not in _PERMISSION_OF
    ]
    parts = ([_any_of(sources, "orIds", "ids")] if sources else []) + conditions
    return _all_of(parts, "andIds", "ids")


def _operation(operation: Operation) -> Json:
    numbers = {"ports": map(str, operation.ports), "not_ports": map(str, operation.not_ports)}
    parts: list[Json] = []
    for field, one in (("hosts", _host), ("ports", _port), ("methods", _method), ("paths", _path)):
        wanted = tuple(numbers.get(field) or getattr(operation, field))
        unwanted = tuple(numbers.get(f"not_{field}") or getattr(operation, f"not_{field}"))
        parts += _both(wanted, unwanted, one, "notRule", "orRules", "rules")
    return _all_of(parts, "andRules", "rules")


def _source(source: Source) -> Json:
    parts: list[Json] = []
    for field, one in (
        ("principals", _certificate_name),
        ("request_principals", _token_principal),
        ("ip_blocks", _direct_ip),
        ("remote_ip_blocks", _remote_ip),
    ):
        parts += _both(getattr(source, field), getattr(source, f"not_{field}"), one, "notId", "orIds", "ids")
    return _all_of(parts, "andIds", "ids")


def _condition(condition: Condition, one: _One, negation: str, any_field: str, items: str) -> Json:
    parts = _both(condition.values, condition.not_values, one, negation, any_field, items)
    return _all_of(parts, any_field.replace("or", "and"), items)


def _principal_of(condition: Condition) -> _One:
    head, names = key_parts(condition.key)
    if head == "request.headers":
        return lambda text: {"header": _header(names[0], text)}
    if head == "request.auth.claims":
        return lambda text: _claim(names, text)
    return _PRINCIPAL_OF[head]


def _both(
    wanted: Iterable[str], unwanted: Iterable[str], one: _One, negation: str, any_field: str, items: str
) -> list[Json]:
    """What must be one of some texts and none of others, as up to two parts of an "and"."""
    found: list[Json] = []
    if yes := [one(text) for text in wanted]:
        found.append(_any_of(yes, any_field, items))
    if no := [one(text) for text in unwanted]:
        found.append({negation: _any_of(no, any_field, items)})
    return found


def _any_of(parts: list[Json], field: str, items: str) -> Json:
    return parts[0] if len(parts) == 1 else {field: {items: parts}}


def _all_of(parts: list[Json], field: str, items: str) -> Json:
    return _any_of(parts, field, items) if parts else _ANY


def _header(name: str, text: str) -> Json:
    return {"name": name, "presentMatch": True} if text == "*" else {"name": name, "stringMatch": pattern_matcher(text)}


def _host(text: str) -> Json:
    """Hosts are compared in any case, with or without their port (Istio's rule)."""
    if text == "*":
        return {"header": _header(":authority", text)}
    if text.endswith("*"):
        return {"header": {"name": ":authority", "stringMatch": {"prefix": text[:-1], "ignoreCase": True}}}
    head, name = (".*", text[1:]) if text.startswith("*") else ("", text)
    regex = f"(?i){head}{re.escape(name)}(:[0-9]+)?"
    if program_size(regex) > MAX_PROGRAM:
        # Too long for an expression; the end of a name can then be compared without a port only.
        ways: list[Json] = [{"suffix": name}] if head else [{"exact": name}, {"prefix": f"{name}:"}]
        return _any_of(
            [{"header": {"name": ":authority", "stringMatch": {**way, "ignoreCase": True}}} for way in ways],
            "orRules",
            "rules",
        )
    return {"header": {"name": ":authority", "stringMatch": {"safeRegex": {"regex": regex}}}}


def _port(text: str) -> Json:
    return {"destinationPort": int(text)}


def _method(text: str) -> Json:
    return {"header": _header(":method", text)}


def _path(text: str) -> Json:
    return {"urlPath": {"path": pattern_matcher(text)}}


def _certificate_name(text: str) -> Json:
    """A name in the client's certificate: its URI, else its DNS name, else its subject. Istio omits `spiffe://`."""
    if text != "*" and not text.startswith("*") and "://" not in text:
        text = SPIFFE + text
    return {"authenticated": {"principalName": pattern_matcher(text)}}


def _token_principal(text: str) -> Json:
    """`iss/sub`: the two claims are apart in Envoy, so the text is split at its last slash, as in Istio."""
    if text == "*":
        return _claim(("iss",), "*")
    issuer, _, subject = text.rpartition("/")
    return {"andIds": {"ids": [_claim(("iss",), issuer), _claim(("sub",), subject)]}}


def _claim(names: Sequence[str], text: str) -> Json:
    """A claim is compared by its type: a text, a number, a truth value, or a list that holds one of these."""
    values: list[Json] = [{"stringMatch": pattern_matcher(text)}]
    if text in ("true", "false"):
        values.append({"boolMatch": text == "true"})
    elif _NUMBER.fullmatch(text):
        values.append({"doubleMatch": {"exact": float(text)}})
    values += [{"listMatch": {"oneOf": value}} for value in tuple(values)]
    return _metadata(JWT_FILTER, (PAYLOAD, *names), {"orMatch": {"valueMatchers": values}})


def _metadata(namespace: str, path: Sequence[str], value: Json) -> Json:
    return {"sourcedMetadata": {"metadataMatcher": metadata_matcher(namespace, path, value)}}


def _model(text: str) -> Json:
    return _metadata(KVPILOT_NAMESPACE, (MODEL_KEY,), {"stringMatch": pattern_matcher(text)})


def _direct_ip(text: str) -> Json:
    return {"directRemoteIp": _range(text)}


def _remote_ip(text: str) -> Json:
    return {"remoteIp": _range(text)}


def _range(text: str) -> Json:
    network = ipaddress.ip_network(text)
    return {"addressPrefix": str(network.network_address), "prefixLen": network.prefixlen}


def _destination_ip(text: str) -> Json:
    return {"destinationIp": _range(text)}


def _server_name(text: str) -> Json:
    return {"requestedServerName": pattern_matcher(text)}


_PERMISSION_OF: dict[str, _One] = {
    "destination.ip": _destination_ip,
    "destination.port": _port,
    "connection.sni": _server_name,
}
"""Conditions about where a request goes, which Envoy counts as permissions."""

_PRINCIPAL_OF: dict[str, _One] = {
    "source.ip": _direct_ip,
    "remote.ip": _remote_ip,
    "source.principal": _certificate_name,
    "request.auth.principal": _token_principal,
    "request.auth.audiences": lambda text: _claim(("aud",), text),
    "request.auth.presenter": lambda text: _claim(("azp",), text),
    "request.model": _model,
}
