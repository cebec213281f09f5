"""`kvpilot render`: what Envoy would get, as JSON, without an Envoy."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.cli.argument_types import address

if TYPE_CHECKING:
    from control_plane.compile.node import Version

NAME = "render"
HELP = "the xDS snapshot of POLICY as JSON, offline"

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The policy, and what the resources depend on beside it."""
    parser.add_argument("policy", type=Path, help="the policy file")
    parser.add_argument(
        "--ext-proc",
        type=address,
        default="127.0.0.1:9002",
        metavar="ADDR",
        help="where Envoy finds the picker (default %(default)s)",
    )
    parser.add_argument("--region", default="", help="region of the Envoy, for locality failover")
    parser.add_argument("--zone", default="", help="zone of the Envoy, for locality failover")
    parser.add_argument("--envoy-version", type=_version, metavar="X.Y", help="render for an older Envoy")


def _version(text: str) -> "Version":
    match = _VERSION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 1.38")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def run(args: argparse.Namespace) -> int:
    """Prints the snapshot; 1 when the policy has errors."""
    import json
    import sys

    from control_plane.cli.policy_file import read_policy
    from control_plane.compile import NEWEST_TESTED, Node, Services, capabilities, compile_snapshot, rendered
    from control_plane.fleet.model import static_fleet
    from ext_proc.core.address import parse_address
    from protos.messages import load

    document = read_policy(args.policy)
    if document is None:
        return 1
    services = Services(ext_proc=parse_address(args.ext_proc))
    node = Node(id="render", version=args.envoy_version or NEWEST_TESTED)
    compiled = compile_snapshot(
        document.policy, static_fleet(document.policy), services, capabilities(node), args.region, args.zone
    )
    for line in compiled.left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(json.dumps(rendered(compiled, load()), indent=2, sort_keys=True))
    return 0
