"""Endpoint assignments from Envoy's JSON to messages, quickly. Pure.

A pool of 10,000 endpoints changes whenever one of them does, and protobuf's own JSON reader takes 0.2 s for it, all of
it on the event loop that answers every Envoy. Nearly all endpoints differ in address, port and weight alone: the
reader is asked once for what they have in common, and the rest is set field by field. What has another shape, from a
patch of the operator's for instance, goes to the reader as before; the message is the same either way.
"""

from collections.abc import Mapping
from typing import Any

from protos.messages import Messages

ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LOCALITY = "envoy.config.endpoint.v3.LocalityLbEndpoints"
ENDPOINT = "envoy.config.endpoint.v3.LbEndpoint"

_MAX_UINT32 = 2**32 - 1


def assignment_message(value: Mapping[str, object], messages: Messages) -> Any:
    """The `ClusterLoadAssignment` that `value` describes; raises what `Messages.parse_json` raises."""
    groups = value.get("endpoints", [])
    if not isinstance(groups, list) or not all(map(_is_usual, groups)):
        return messages.parse_json(ASSIGNMENT, value)
    message: Any = messages.parse_json(ASSIGNMENT, {**value, "endpoints": []})
    for group in groups:
        locality = message.endpoints.add()
        locality.MergeFrom(messages.parse_json(LOCALITY, {**group, "lbEndpoints": []}))
        _fill(locality.lb_endpoints, group.get("lbEndpoints", []), messages)
    return message


def assignment_bytes(value: Mapping[str, object], messages: Messages) -> bytes:
    """The same as bytes: equal assignments are equal bytes, in every process."""
    data: bytes = assignment_message(value, messages).SerializeToString(deterministic=True)
    return data


def _is_usual(group: object) -> bool:
    """Whether a locality has its endpoints, mappings all, as a list under the key that the compiler writes."""
    if not isinstance(group, dict) or "lb_endpoints" in group:
        return False
    members = group.get("lbEndpoints", [])
    return isinstance(members, list) and set(map(type, members)) <= {dict}


def _fill(endpoints: Any, members: list[Any], messages: Messages) -> None:
    common: object = None
    template: Any = None
    for member in members:
        own = _own(member)
        if own is None:
            endpoints.append(messages.parse_json(ENDPOINT, member))
            continue
        rest = _rest(member)
        if rest != common:
            common, template = rest, messages.parse_json(ENDPOINT, rest)
        endpoint = endpoints.add()
        endpoint.MergeFrom(template)
        socket = endpoint.endpoint.address.socket_address
        socket.address, socket.port_value, endpoint.load_balancing_weight.value = own


def _own(member: Any) -> tuple[str, int, int] | None:
    """Address, port and weight of an endpoint of the usual shape, None for another one."""
    try:
        address = member["endpoint"]["address"]
        socket = address["socketAddress"]
        host, port, weight = socket["address"], socket["portValue"], member["loadBalancingWeight"]
    except (KeyError, TypeError):
        return None
    # Only what needs no conversion, and nothing beside it that would get lost.
    if type(host) is str and type(port) is int and type(weight) is int and len(address) == 1 and len(socket) == 2:
        return (host, port, weight) if 0 <= port <= _MAX_UINT32 and 0 <= weight <= _MAX_UINT32 else None
    return None


def _rest(member: dict[str, Any]) -> dict[str, Any]:
    """The endpoint without what it has for itself."""
    rest, host = dict(member), dict(member["endpoint"])
    del rest["loadBalancingWeight"], host["address"]
    rest["endpoint"] = host
    return rest
