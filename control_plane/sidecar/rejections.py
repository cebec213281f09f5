"""Refused contents as JSON values, and back: what of the quarantine outlives a restart."""

from collections.abc import Iterable, Mapping
from typing import Any

from control_plane.compile import Capabilities, Feature
from control_plane.xds.quarantine import Quarantine, Rejected


def as_json(quarantine: Quarantine) -> list[dict[str, Any]]:
    """All that is remembered; a kind of Envoy by what it lacks, which is the shorter list."""
    return [
        _as_json(rejected) for rejected in quarantine.rejections() if not (rejected.is_suspect or rejected.is_local)
    ]


def _as_json(rejected: Rejected) -> dict[str, Any]:
    capabilities, group = _scope(rejected.scope)
    return {
        "lacks": sorted(feature.name for feature in Feature if feature not in capabilities.features),
        "group": group,
        "type_url": rejected.type_url,
        "name": rejected.name,
        "version": rejected.version,
        "error": rejected.error,
        "policy": rejected.policy,
    }


def _scope(scope: object) -> tuple[Capabilities, str]:
    assert isinstance(scope, tuple), "made by the slow loop"
    capabilities, group = scope
    return capabilities, group


def restore(quarantine: Quarantine, rejections: Iterable[Mapping[str, Any]]) -> None:
    """Takes in what `as_json` gave; what cannot be read is left out, and will be refused again."""
    for item in rejections:
        try:
            lacks = frozenset(item["lacks"])
            features = frozenset(feature for feature in Feature if feature.name not in lacks)
            rejected = Rejected(
                scope=(Capabilities(features), str(item["group"])),
                type_url=str(item["type_url"]),
                name=str(item["name"]),
                version=str(item["version"]),
                error=str(item["error"]),
                policy=str(item["policy"]),
            )
            quarantine.reject(rejected)
        except (KeyError, TypeError):
            continue
