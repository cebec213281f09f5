"""`kvpilot plan OLD NEW`: what an edit would change in Envoy, and what that does to traffic, before it is applied."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.cli.compiling import add_place, compiled_for, envoy_version, groups_of, materials_at

if TYPE_CHECKING:
    from control_plane.compile import Compiled
    from control_plane.compile.diff import Change
    from control_plane.compile.materials import Materials
    from control_plane.compile.node import Version
    from control_plane.policy import Diagnostic, Document

NAME = "plan"
HELP = "what would change in Envoy between two policies"

OUTPUTS = ("text", "json")

NOTHING, FAILED, CHANGED = 0, 1, 2
"""Exit statuses."""

SIGNS = {"add": "+", "change": "~", "remove": "-"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of Envoy that the plan is made for."""

    version: "Version"
    group: str

    def __str__(self) -> str:
        return f"Envoy {self.version[0]}.{self.version[1]}, group {self.group}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A change with its place in the policy and the kinds of Envoy that it reaches."""

    change: "Change"
    place: str
    reaches: tuple[Variant, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two policies, and for which Envoys."""
    parser.add_argument("old", type=Path, help="the policy as it is: a file, or a directory of files")
    parser.add_argument("new", type=Path, help="the policy as it would be")
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the plan (default: text)")
    parser.add_argument(
        "--envoy-version",
        type=envoy_version,
        action="append",
        metavar="X.Y",
        help="plan for this Envoy, too; may be given several times (default: the newest that is tested)",
    )
    add_place(parser, group=False)


def run(args: argparse.Namespace) -> int:
    """Prints the plan; 0 without a change, 2 with changes, 1 when a policy has errors."""
    from control_plane.cli.policy_file import read_policy
    from control_plane.cli.unknown_endpoints import say_unknown_endpoints
    from control_plane.compile import NEWEST_TESTED
    from control_plane.policy import format_text
    from control_plane.sidecar.fixed_ports import as_opened
    from control_plane.sidecar.reading import removal

    documents = [read_policy(args.old), read_policy(args.new)]
    old, new = documents
    if old is None or new is None:
        return FAILED
    new, restart = as_opened(new, old.policy.control_plane)
    for warning in restart:
        print(format_text(warning), file=sys.stderr)
    say_unknown_endpoints(new.policy)
    variants = [
        Variant(version, group)
        for version in dict.fromkeys(args.envoy_version or [NEWEST_TESTED])
        for group in groups_of([old, new])
    ]
    # An edit changes no files: wherever the old policy was put to be compared, they are those beside the new one.
    files = {document.version: materials_at(args.new, document) for document in (old, new)}
    pairs = {
        variant: tuple(_compiled(document, variant, args, files[document.version]) for document in (old, new))
        for variant in variants
    }
    planned = [*_planned(old, new, pairs), *_picker_changes(old, new, variants)]
    left_out = {variant: pair[1].left_out for variant, pair in pairs.items() if pair[1].left_out}
    guard = removal(old.policy, new.policy)
    if args.output == "json":
        _print_json(planned, left_out, guard, restart)
    else:
        _print_text(planned, left_out, guard, variants)
        for warning in restart:
            print(f"needs a restart of kvpilot: {warning.message}")
    return CHANGED if planned or restart else NOTHING


def _compiled(document: "Document", variant: Variant, args: argparse.Namespace, materials: "Materials") -> "Compiled":
    place = {"region": args.region, "zone": args.zone}
    return compiled_for(document, version=variant.version, group=variant.group, materials=materials, **place)


def _planned(old: "Document", new: "Document", pairs: "dict[Variant, tuple[Compiled, ...]]") -> Iterable[Planned]:
    """Changes of all variants; the same one in several is one."""
    from control_plane.compile.diff import changes
    from control_plane.scenarios.decide import declared_path

    reached: dict[Change, list[Variant]] = {}
    for variant, (before, after) in pairs.items():
        for change in changes(before, after):
            reached.setdefault(change, []).append(variant)
    for change, variants in reached.items():
        is_gone = change.action == "remove"
        compiled = pairs[variants[0]][0 if is_gone else 1]
        path = compiled.provenance.get((change.kind, change.name), "")
        if change.kind == "routes" and change.subject:
            path = declared_path(change.subject, change.name)
        yield Planned(change, _place(old if is_gone else new, path), tuple(variants))


def _picker_changes(old: "Document", new: "Document", variants: Sequence[Variant]) -> Iterable[Planned]:
    """What only the picker is told: Envoy has nothing to do with it."""
    from control_plane.compile.diff import Change

    before = {pool.name: pool for pool in old.policy.pools}
    for pool in new.policy.pools:
        if pool.name in before and before[pool.name].picker != pool.picker:
            was, will_be = before[pool.name].picker.strategy, pool.picker.strategy
            change = Change(
                kind="picker",
                name=pool.name,
                action="change",
                details=(f"strategy: {was} → {will_be}",) if was != will_be else (),
            )
            yield Planned(change, _place(new, f"pools.{pool.name}.picker"), tuple(variants))


def _place(document: "Document", path: str) -> str:
    mark = document.mark(path) if path else None
    return f"{mark.file}:{mark.line}" if mark else ""


def _print_json(
    planned: Sequence[Planned],
    left_out: "dict[Variant, tuple[str, ...]]",
    guard: str,
    restart: "Sequence[Diagnostic]",
) -> None:
    import json

    found = [
        {
            "type": each.change.kind,
            "name": each.change.name,
            "action": each.change.action,
            "policy": each.place,
            "details": list(each.change.details),
            "notes": list(each.change.notes),
            "two_step": each.change.is_two_step,
            "drains": each.change.drains,
            "reaches": [str(variant) for variant in each.reaches],
        }
        for each in planned
    ]
    missing = {str(variant): list(lines) for variant, lines in left_out.items()}
    plan = {"changes": found, "left_out": missing, "guard": guard, "restart": [each.message for each in restart]}
    print(json.dumps(plan, indent=2, ensure_ascii=False))


def _print_text(
    planned: Sequence[Planned], left_out: "dict[Variant, tuple[str, ...]]", guard: str, variants: Sequence[Variant]
) -> None:
    for each in planned:
        change = each.change
        where = f"  ({each.place})" if each.place else ""
        print(f"{SIGNS[change.action]} {change.kind} {change.name}{where}")
        for line in change.details:
            print(f"      {line}")
        for line in change.notes:
            print(f"    → {line}")
        if len(each.reaches) < len(variants):
            print(f"    only: {'; '.join(str(variant) for variant in each.reaches)}")
    for variant, lines in left_out.items():
        for line in lines:
            print(f"{variant} does not get: {line}")
    if guard:
        print(f"refused unless forced: {guard}")
    print(_summary(planned))


def _summary(planned: Sequence[Planned]) -> str:
    if not planned:
        return "no changes"
    counts = {action: sum(each.change.action == action for each in planned) for action in SIGNS}
    words = {"add": "added", "change": "changed", "remove": "removed"}
    counted = ", ".join(f"{count} {words[action]}" for action, count in counts.items() if count)
    draining = [each.change.name for each in planned if each.change.drains]
    two_step = [each.change.name for each in planned if each.change.is_two_step]
    return (
        counted
        + (f"; removed in two steps: {', '.join(two_step)}" if two_step else "")
        + (f"; drains connections of: {', '.join(draining)}" if draining else "; no connection of a client is drained")
    )
