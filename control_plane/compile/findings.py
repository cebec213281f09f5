"""What is wrong with a policy and only shows in what it compiles to: patches that do not fit.

Asked after a policy was read without errors, before it is applied; an error here refuses it like any other.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from google.protobuf import json_format

from control_plane.compile.capability import NEWEST_TESTED, capabilities
from control_plane.compile.grouping import group_names
from control_plane.compile.names import cluster_name
from control_plane.compile.node import Node
from control_plane.compile.patches import KIND_OF_PATCH, Failure, apply_patch
from control_plane.compile.services import Services
from control_plane.compile.snapshot import MESSAGE_OF_KIND, compile_snapshot
from control_plane.compile.typed import Json
from control_plane.fleet.model import static_fleet
from control_plane.policy import Diagnostic, Document
from control_plane.policy.codes import Code
from control_plane.policy.declare import yaml_key
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Policy
from control_plane.policy.patches import EnvoyPatch
from control_plane.policy.reader import names_text
from ext_proc.core.address import SocketAddress
from protos.messages import Messages

_ANY_PICKER = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
"""Where the picker is does not matter to a patch."""

MAX_WORDS = 300
"""Characters that are repeated of what protobuf says."""


def findings(document: Document, messages: Messages) -> tuple[Diagnostic, ...]:
    """Errors of the policy's patches, each at its own place; nothing for a policy without patches.

    Judged for the newest Envoy that is tested: an older one gets a patch that does not fit it left out.
    """
    patches = document.policy.envoy_patch
    if not patches:
        return ()
    tables = _tables(document.policy)
    return tuple(_patch_findings(document, tables, messages))


def _tables(policy: Policy) -> dict[str, dict[str, Json]]:
    """What the policy compiles to without its patches, for Envoys of all groups together."""
    node = capabilities(Node(id="findings", version=NEWEST_TESTED))
    plain = replace(policy, envoy_patch=())
    tables: dict[str, dict[str, Json]] = {kind: {} for kind in MESSAGE_OF_KIND}
    for group in group_names(policy):
        found = compile_snapshot(plain, static_fleet(plain), _ANY_PICKER, node, "", "", group=group, isolate=True)
        for kind, table in found.by_kind().items():
            tables[kind] |= table
    return tables


def _patch_findings(document: Document, tables: dict[str, dict[str, Json]], messages: Messages) -> Iterator[Diagnostic]:
    for patch in document.policy.envoy_patch:
        kind, path = KIND_OF_PATCH[patch.kind], f"envoyPatch.{patch.name}"
        resource = tables[kind].get(patch.resource)
        if resource is None:
            yield _no_such_resource(document, patch, tables[kind])
            continue
        result = apply_patch(patch, resource)
        if isinstance(result, Failure) and kind == "endpoints" and _is_discovered(document.policy, patch.resource):
            continue  # which endpoints there are only a running kvpilot knows
        if isinstance(result, Failure):
            at = f"{path}.patch" if result.operation is None else f"{path}.patch[{result.operation}].path"
            yield document.finding(
                at, Code.PATCH_FAILS, f"the patch {quoted(patch.name)} does not fit: {result.message}"
            )
            continue
        problem = _problem(messages, MESSAGE_OF_KIND[kind], result)
        if problem:
            message = f"the patch {quoted(patch.name)} makes no valid {patch.kind}: {problem}"
            hint = "keys are in lowerCamelCase, as `kvpilot render` prints them"
            yield document.finding(f"{path}.patch", Code.PATCH_RESULT, message, hint)
            continue
        # Patches are applied in order: the next one finds what this one made.
        tables[kind][patch.resource] = result


def _is_discovered(policy: Policy, resource: str) -> bool:
    """Whether endpoints of this assignment come from elsewhere than the policy."""
    return any(pool.discovered and cluster_name(pool.name) == resource for pool in policy.pools)


def _no_such_resource(document: Document, patch: EnvoyPatch, table: Mapping[str, Json]) -> Diagnostic:
    message = f"there is no {patch.kind} {quoted(patch.resource)} to patch"
    hint = f"there is {names_text(sorted(table))}"
    return document.finding(f"envoyPatch.{patch.name}.resource", Code.PATCH_TARGET, message, hint)


def _problem(messages: Messages, full_name: str, resource: Json) -> str:
    """What keeps a resource from being its message; empty for nothing."""
    twice = next(_spelled_twice(resource), "")
    if twice:
        return f"`{twice}` is there in both spellings"
    try:
        messages.parse_json(full_name, resource)
    except (json_format.ParseError, KeyError, TypeError, ValueError) as error:
        return re.sub(r"\s+", " ", str(error).strip("'\""))[:MAX_WORDS]
    return ""


def _spelled_twice(value: object) -> Iterator[str]:
    """Keys in snake_case beside the same in lowerCamelCase: protobuf would read them as one field, in some order."""
    if isinstance(value, Mapping):
        yield from (key for key in value if "_" in key and yaml_key(key) in value)
        for item in value.values():
            yield from _spelled_twice(item)
    elif isinstance(value, list):
        for item in value:
            yield from _spelled_twice(item)
