"""What a verb compiles without a sidecar: a document for an Envoy of some version, place and group."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.compile import Compiled
    from control_plane.compile.materials import Materials
    from control_plane.compile.node import Version
    from control_plane.fleet.model import Fleet
    from control_plane.policy import Document

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")

DEFAULT_GROUP = "default"
"""The group of Envoys that no other group takes. As in `policy.groups`, which this module does without: every start of
kvpilot makes the parsers of all verbs."""


def envoy_version(text: str) -> "Version":
    """`1.38` or `1.38.2` of the command line."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 1.38")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def add_place(parser: argparse.ArgumentParser, *, group: bool = True) -> None:
    """Arguments that say which Envoy is meant; without `group` the verb looks at all groups."""
    parser.add_argument("--region", default="", help="region of the Envoy, for locality failover")
    parser.add_argument("--zone", default="", help="zone of the Envoy, for locality failover")
    if group:
        parser.add_argument("--group", default=DEFAULT_GROUP, help="group of the Envoy (default: %(default)s)")


def compiled_for(
    document: "Document",
    *,
    version: "Version | None" = None,
    region: str = "",
    zone: str = "",
    group: str = DEFAULT_GROUP,
    ext_proc: str = "127.0.0.1:9002",
    fleet: "Fleet | None" = None,
    materials: "Materials | None" = None,
) -> "Compiled":
    """The resources that one kind of Envoy gets; `version` None is the newest that kvpilot is tested with.

    `materials` are the files that the policy names; without them Envoy would wait for what needs them.
    """
    from control_plane.compile import NEWEST_TESTED, Node, Services, capabilities, compile_snapshot
    from control_plane.compile.materials import NO_MATERIALS
    from control_plane.fleet.model import static_fleet
    from ext_proc.core.address import parse_address

    node = Node(id="", version=version or NEWEST_TESTED)
    return compile_snapshot(
        document.policy,
        fleet or static_fleet(document.policy),
        Services(ext_proc=parse_address(ext_proc)),
        capabilities(node),
        region,
        zone,
        group=group,
        materials=materials or NO_MATERIALS,
    )


def materials_at(path: Path, document: "Document") -> "Materials":
    """The usable ones of the files that a policy names, if it stands at `path` (a file, or a directory of files)."""
    from control_plane.sidecar.certificates import CertificateFiles
    from control_plane.sidecar.policy_source import PolicySource

    return CertificateFiles(PolicySource(path).base).preview(document.policy)


def unknown_group(document: "Document", group: str) -> str:
    """What to tell somebody who asks for a group that the policy does not have; empty for one that it has."""
    known = groups_of([document])
    return "" if group in known else f"there is no group {group}; there is {', '.join(known)}"


def groups_of(documents: "Sequence[Document]") -> list[str]:
    """The groups that the policies name, the implicit one included."""
    named = (group.name for document in documents for group in document.policy.groups)
    return list(dict.fromkeys((*named, DEFAULT_GROUP)))
