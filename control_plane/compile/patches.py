"""`envoyPatch`: the operator's own changes, after everything else.

A patch changes one resource as a whole or not at all. For the Envoy that a policy was checked for it fits (see
`findings`); another Envoy may lack what a patch refers to, and then gets the resource as it was, and a word about it.
Nothing raises: a patch that does not fit costs itself alone.
"""

import copy
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jsonpatch
import jsonpointer

from control_plane.compile.typed import Json
from control_plane.policy.model import Policy
from control_plane.policy.patches import EnvoyPatch, PatchOperation

if TYPE_CHECKING:
    # Its last step is this module.
    from control_plane.compile.snapshot import Compiled

KIND_OF_PATCH = {"cluster": "clusters", "endpoints": "endpoints", "listener": "listeners", "route": "routes"}
"""A patch's `kind` → the table of resources."""


MAX_VALUES = 400_000
"""Values of a patched resource: 10,000 endpoints have some 150,000. Without a bound, copies of copies fill memory."""

MAX_DEPTH = 100
"""Levels of a patched resource: as deep as protobuf reads JSON."""

MAX_WORDS = 200
"""Characters that are repeated of what the library says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a patch does not fit: in words, and which of its operations (None: the patch as a whole)."""

    patch: EnvoyPatch
    message: str
    operation: int | None = None


def patched(compiled: "Compiled", policy: Policy) -> "Compiled":
    """The resources with all of the policy's patches that fit, in order; `left_out` names the others.

    A patched resource comes from its last patch: when Envoy refuses it, that is the line to look at.
    """
    if not policy.envoy_patch:
        return compiled
    tables = {kind: dict(table) for kind, table in compiled.by_kind().items()}
    provenance = dict(compiled.provenance)
    left_out: list[str] = []
    for patch in policy.envoy_patch:
        kind = KIND_OF_PATCH[patch.kind]
        if patch.resource not in tables[kind]:
            continue  # a listener of another group; that there is none at all was said when the policy was checked
        result = apply_patch(patch, tables[kind][patch.resource])
        if isinstance(result, Failure):
            left_out.append(f"the patch {patch.name}: {result.message}")
        else:
            tables[kind][patch.resource] = result
            provenance[kind, patch.resource] = f"envoyPatch.{patch.name}"
    changed: dict[str, Any] = {kind: tables[kind] for kind in KIND_OF_PATCH.values()}
    return replace(compiled, **changed, provenance=provenance, left_out=(*compiled.left_out, *left_out))


def patched_resource(kind: str, name: str, resource: Json, policy: Policy) -> Json:
    """One resource with all of its patches that fit: for what is compiled anew by itself, such as endpoints."""
    for patch in policy.envoy_patch:
        if KIND_OF_PATCH[patch.kind] == kind and patch.resource == name:
            result = apply_patch(patch, resource)
            if not isinstance(result, Failure):
                resource = result
    return resource


def apply_patch(patch: EnvoyPatch, resource: Json) -> Json | Failure:
    """A changed copy of the resource, or why there is none."""
    # A copy first: the compiled resource is shared with those who hold it unpatched.
    result = copy.deepcopy(resource)
    for index, operation in enumerate(patch.patch):
        try:
            result = jsonpatch.apply_patch(result, [_as_json(operation)], in_place=True)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, ValueError) as error:
            return Failure(patch=patch, message=_said(error, operation), operation=index)
        if not isinstance(result, dict):
            return Failure(patch=patch, message="a resource is an object, and stays one", operation=index)
        if operation.op == "copy" and not _is_bounded(result):
            return Failure(patch=patch, message="the copies grow beyond any resource", operation=index)
    name = _name_of(patch.kind, result)
    if name != patch.resource:
        return Failure(patch=patch, message=f"it changes the resource's name to {name!r}; names must stay")
    return result


def _is_bounded(resource: Json) -> bool:
    """Whether a resource has a size and a depth that it can have; without recursion, for copies nest."""
    level: list[object] = [resource]
    values = 0
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        values += len(below)
        if values > MAX_VALUES:
            return False
        if not below:
            return True
        level = below
    return False


def _name_of(kind: str, resource: Json) -> object:
    return resource.get("clusterName" if kind == "endpoints" else "name")


def _as_json(operation: PatchOperation) -> dict[str, Any]:
    found: dict[str, Any] = {"op": operation.op, "path": operation.path}
    if operation.value:
        found["value"] = json.loads(operation.value)
    if operation.from_ is not None:
        found["from"] = operation.from_
    return found


def _said(error: Exception, operation: PatchOperation) -> str:
    if isinstance(error, jsonpatch.JsonPatchTestFailed):
        return f"`test` {operation.path}: the value there is another one"
    # The library repeats the object in which it did not find a member: a whole resource.
    words = str(error).split(" in {")[0]
    return f"`{operation.op}` {operation.path}: {words[:MAX_WORDS]}"
