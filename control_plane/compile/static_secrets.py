"""Secrets for an Envoy without a control plane: by name from its own bootstrap instead of by SDS."""

from collections.abc import Collection, Iterator
from typing import Any

from control_plane.compile.typed import Json


def with_static_secrets(resource: Json, known: Collection[str]) -> Json:
    """`resource` with references to the bootstrap's secrets.

    A transport socket with a secret that is not `known`, because its file is not on this machine, is left out: an
    Envoy without SDS would refuse it, and what else there is can still be looked at.
    """
    found: Json = _converted(resource, known)
    return found


def _converted(value: Any, known: Collection[str]) -> Any:
    if isinstance(value, dict):
        if "sdsConfig" in value:
            return {"name": value["name"]}
        kept = {key: item for key, item in value.items() if key != "transportSocket" or _is_known(item, known)}
        return {key: _converted(item, known) for key, item in kept.items()}
    if isinstance(value, list):
        return [_converted(item, known) for item in value]
    return value


def _is_known(socket: object, known: Collection[str]) -> bool:
    return all(name in known for name in _names(socket))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "sdsConfig" in value:
            yield value["name"]
        for item in value.values():
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)
