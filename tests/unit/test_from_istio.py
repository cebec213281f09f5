"""docs/from_istio.md speaks of keys that exist, and of each Istio key that kvpilot knows by name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.policy import json_schema
from control_plane.policy.blocks import BlockOf
from control_plane.policy.model import Policy

PAGE = Path(__file__).parents[2] / "docs" / "from_istio.md"
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| Istio |")
]

OWN_PLANS = {"fallback", "tokens"}
"""Planned keys that are no words of Istio's."""


def paths(schema: Any, root: Any, path: str = "", seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """All paths of keys, `[]` for the items of a list and `NAME` for a free key."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from paths(root["definitions"][name], root, path, seen | {name})
        return
    for word in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(word, ()):
            yield from paths(part, root, path, seen)
    for key, value in schema.get("properties", {}).items():
        below = f"{path}.{key}" if path else key
        yield below
        yield from paths(value, root, below, seen)
    if "items" in schema:
        yield f"{path}[]"
        yield from paths(schema["items"], root, f"{path}[]", seen)
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}.NAME"
        yield from paths(schema["additionalProperties"], root, f"{path}.NAME", seen)


KNOWN = set(paths(json_schema(), json_schema()))


def test_there_are_rows() -> None:
    """Three cells each; enough of them to be the whole of Istio's traffic management."""
    assert len(ROWS) > 80
    assert {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60] or row[1][:60])
def test_every_key_exists(row: list[str]) -> None:
    """Each key of kvpilot's that a row names is one of the policy's, at that place."""
    named = re.findall(r"`([^`]+)`", row[1])
    assert [path for path in named if path not in KNOWN] == []
    assert named or row[2], "a row without an equivalent says why"


def test_every_istio_word_that_is_refused_is_explained() -> None:
    """A key that the loader refuses as known from Istio stands on the page."""
    text = PAGE.read_text()
    planned = {key for cls in BlockOf(Policy).blocks() for key in cls.PLANNED} - OWN_PLANS
    assert {key for key in planned if key not in text} == set()
