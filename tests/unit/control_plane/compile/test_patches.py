"""`envoyPatch`: applied last, in order, all of a patch or nothing of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from control_plane.compile.patches import Failure, apply_patch, patched_resource
from control_plane.policy.model import Policy
from control_plane.policy.patches import EnvoyPatch, PatchOperation
from tests.unit.control_plane.compile.samples import NOTHING, compiled, policy


def operation(op: str, path: str, value: Any = None, source: str | None = None) -> PatchOperation:
    """An operation; `value` counts for those that want one."""
    wants = op in ("add", "replace", "test")
    return PatchOperation(op=op, path=path, value=json.dumps(value) if wants else "", from_=source)


def patch(*operations: PatchOperation, kind: str = "cluster", resource: str = "pool/a", name: str = "p") -> EnvoyPatch:
    """A patch, of the cluster of pool a where nothing else is said."""
    return EnvoyPatch(name=name, kind=kind, resource=resource, patch=operations)


def with_patches(*patches: EnvoyPatch) -> Policy:
    """The ordinary policy with these patches."""
    return replace(policy(), envoy_patch=patches)


def test_nothing_to_patch() -> None:
    """Without patches the resources are what they are."""
    assert compiled(with_patches()) == compiled()


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([operation("add", "/c", 1)], {"name": "pool/a", "a": {"b": [1, 2]}, "c": 1}),
        ([operation("add", "/a/b/-", None)], {"name": "pool/a", "a": {"b": [1, 2, None]}}),
        ([operation("remove", "/a/b/0")], {"name": "pool/a", "a": {"b": [2]}}),
        ([operation("test", "/a/b", [1, 2]), operation("replace", "/a", {})], {"name": "pool/a", "a": {}}),
        ([operation("move", "/d", source="/a/b")], {"name": "pool/a", "a": {}, "d": [1, 2]}),
        ([operation("copy", "/d", source="/a/b/1")], {"name": "pool/a", "a": {"b": [1, 2]}, "d": 2}),
    ],
)
def test_operations(operations: list[PatchOperation], expected: dict[str, Any]) -> None:
    """The six of RFC 6902, one after the other, on a copy."""
    resource: dict[str, Any] = {"name": "pool/a", "a": {"b": [1, 2]}}
    assert apply_patch(patch(*operations), resource) == expected
    assert resource == {"name": "pool/a", "a": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("operations", "index", "words"),
    [
        ([operation("add", "/c", 1), operation("replace", "/x", 1)], 1, "non-existent"),
        ([operation("replace", "/x/y", 1)], 0, "member 'x' not found"),
        ([operation("add", "/a/b/x", 1)], 0, "not a valid sequence index"),
        ([operation("add", "/name/x", 1)], 0, "`add` /name/x: "),
        ([operation("remove", "/a/b/7")], 0, "`remove` /a/b/7: "),
        ([operation("test", "/a", 1)], 0, "the value there is another one"),
        ([operation("move", "/a/x", source="/a")], 0, "own children"),
        ([operation("copy", "/d", source="/x")], 0, "`copy` /d: "),
        ([operation("remove", "")], 0, "whole document"),
        ([operation("add", "", [1])], 0, "a resource is an object"),
        ([operation("replace", "/name", "pool/b")], None, "names must stay"),
        ([operation("remove", "/name")], None, "names must stay"),
    ],
)
def test_what_does_not_fit(operations: list[PatchOperation], index: int | None, words: str) -> None:
    """The operation that failed is told, in words without the resource in them."""
    found = apply_patch(patch(*operations), {"name": "pool/a", "a": {"b": [1, 2]}})
    assert isinstance(found, Failure)
    assert found.operation == index
    assert words in found.message
    assert "{" not in found.message


def test_copies_do_not_fill_memory() -> None:
    """Copies of copies end where no resource can be larger, or deeper."""
    wide = apply_patch(patch(*(operation("copy", f"/x{step}", source="") for step in range(40))), {"name": "pool/a"})
    assert isinstance(wide, Failure)
    assert wide.message == "the copies grow beyond any resource"
    deep = apply_patch(patch(*(operation("copy", "/x" * step, source="") for step in range(1, 40))), {"name": "pool/a"})
    assert isinstance(deep, Failure)
    assert deep.message == "the copies grow beyond any resource"


def test_each_kind_of_resource() -> None:
    """Clusters, endpoints, listeners and routes; each comes from its patch then."""
    added = operation("add", "/x", 1)
    found = compiled(
        with_patches(
            patch(added, name="c"),
            patch(added, kind="endpoints", name="e"),
            patch(added, kind="listener", resource="openai", name="l"),
            patch(added, kind="route", resource="openai", name="r"),
        )
    )
    tables = found.by_kind()
    places = (("clusters", "pool/a"), ("endpoints", "pool/a"), ("listeners", "openai"), ("routes", "openai"))
    assert [tables[kind][name]["x"] for kind, name in places] == [1, 1, 1, 1]
    assert [found.provenance[place] for place in places] == [f"envoyPatch.{name}" for name in "celr"]
    assert found.left_out == ()


def test_patches_are_applied_in_order() -> None:
    """The second one finds what the first one made, and is where the resource comes from."""
    found = compiled(
        with_patches(
            patch(operation("add", "/x", [])),
            patch(operation("add", "/x/-", 1), name="q"),
            patch(operation("remove", "/x"), name="r"),
        )
    )
    assert found.clusters == compiled().clusters
    assert found.provenance["clusters", "pool/a"] == "envoyPatch.r"


def test_a_patch_that_does_not_fit_this_envoy_is_left_out() -> None:
    """An Envoy without the filter keeps its listener; the others apply, and it is told."""
    path = "/filterChains/0/filters/0/typedConfig/httpFilters/2/name"
    fits_not = patch(operation("replace", path, "x"), kind="listener", resource="openai", name="third-filter")
    value = with_patches(fits_not, patch(operation("add", "/x", 1)))
    found = compiled(value, NOTHING)
    assert found.listeners == compiled(wanted=NOTHING).listeners
    assert found.clusters["pool/a"]["x"] == 1
    assert found.left_out[-1].startswith("the patch third-filter: `replace` ")
    assert ("listeners", "openai") not in {place for place, path in found.provenance.items() if "envoyPatch" in path}


def test_a_resource_that_this_envoy_does_not_have_costs_nothing() -> None:
    """A listener of another group is no failure."""
    value = with_patches(patch(operation("add", "/x", 1), kind="listener", resource="elsewhere"))
    assert compiled(value) == compiled()


def test_one_resource_alone() -> None:
    """What is compiled anew by itself is patched by itself."""
    value = with_patches(
        patch(operation("add", "/x", 1), kind="endpoints"), patch(operation("remove", "/nothing"), kind="endpoints")
    )
    plain = compiled().endpoints["pool/a"]
    assert patched_resource("endpoints", "pool/a", plain, value) == {**plain, "x": 1}
    assert patched_resource("endpoints", "pool/b", plain, value) is plain
    assert patched_resource("clusters", "pool/a", plain, value) is plain
