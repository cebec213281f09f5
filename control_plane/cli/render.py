"""`kvpilot render`: what Envoy would get, as JSON, without an Envoy."""

import argparse
from pathlib import Path

from control_plane.cli.argument_types import address
from control_plane.cli.compiling import add_place, compiled_for, envoy_version, materials_at

NAME = "render"
HELP = "the xDS snapshot of POLICY as JSON, offline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The policy, and what the resources depend on beside it."""
    parser.add_argument("policy", type=Path, help="the policy: a file, or a directory of files")
    parser.add_argument(
        "--ext-proc",
        type=address,
        default="127.0.0.1:9002",
        metavar="ADDR",
        help="where Envoy finds the picker (default %(default)s)",
    )
    add_place(parser)
    parser.add_argument("--envoy-version", type=envoy_version, metavar="X.Y", help="render for an older Envoy")


def run(args: argparse.Namespace) -> int:
    """Prints the snapshot; 1 when the policy has errors or does not have the group."""
    import json
    import sys

    from control_plane.cli.policy_file import read_policy
    from control_plane.cli.unknown_endpoints import say_unknown_endpoints
    from control_plane.compile import rendered
    from protos.messages import load

    document = read_policy(args.policy, args.group)
    if document is None:
        return 1
    compiled = compiled_for(
        document,
        version=args.envoy_version,
        region=args.region,
        zone=args.zone,
        group=args.group,
        ext_proc=args.ext_proc,
        materials=materials_at(args.policy, document),
    )
    say_unknown_endpoints(document.policy)
    for line in compiled.left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(json.dumps(rendered(compiled, load()), indent=2, sort_keys=True))
    return 0
