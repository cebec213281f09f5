"""`kvpilot bootstrap`: the file that an Envoy of one's own starts from."""

import argparse
from pathlib import Path

from control_plane.cli.argument_types import address, port

NAME = "bootstrap"
HELP = "the bootstrap for an Envoy of your own, YAML on standard output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where things are, and what this Envoy is called."""
    parser.add_argument("policy", type=Path, help="the policy file (only checked: the bootstrap does not depend on it)")
    parser.add_argument(
        "--xds", type=address, default="127.0.0.1:18000", metavar="ADDR", help="kvpilot's xDS (default %(default)s)"
    )
    parser.add_argument("--node-id", default="kvpilot-envoy", help="the Envoy's name in status (default %(default)s)")
    parser.add_argument("--node-cluster", default="kvpilot", help="its group (default %(default)s)")
    parser.add_argument("--region", default="", help="its region, for locality failover")
    parser.add_argument("--zone", default="", help="its zone, for locality failover")
    parser.add_argument("--ads", choices=["delta", "sotw"], default="delta", help="xDS variant (default %(default)s)")
    parser.add_argument(
        "--admin-port", type=port, default=9901, help="port of Envoy's admin server on 127.0.0.1 (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the bootstrap; 1 when the policy has errors."""
    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.cli.policy_file import read_policy
    from control_plane.cli.quoted_yaml import dump
    from control_plane.compile import bootstrap
    from ext_proc.core.address import SocketAddress, parse_address

    if read_policy(args.policy) is None:
        return 1
    document = bootstrap(
        bootstrap_template=bootstrap_template(),
        xds=parse_address(args.xds),
        node_id=args.node_id,
        node_cluster=args.node_cluster,
        region=args.region,
        zone=args.zone,
        ads=args.ads,
        admin=SocketAddress("127.0.0.1", args.admin_port),
    )
    print(dump(document), end="")
    return 0
