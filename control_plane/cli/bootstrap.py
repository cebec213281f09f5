"""`kvpilot bootstrap`: the file that an Envoy of one's own starts from."""

import argparse
from pathlib import Path

NAME = "bootstrap"
HELP = "the bootstrap for an Envoy of your own, YAML on standard output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where things are, and what this Envoy is called."""
    parser.add_argument("policy", type=Path, help="the policy file (only checked: the bootstrap does not depend on it)")
    parser.add_argument("--xds", default="127.0.0.1:18000", metavar="ADDR", help="kvpilot's xDS (default %(default)s)")
    parser.add_argument("--node-id", default="kvpilot-envoy", help="the Envoy's name in status (default %(default)s)")
    parser.add_argument("--node-cluster", default="kvpilot", help="its group (default %(default)s)")
    parser.add_argument("--region", default="", help="its region, for locality failover")
    parser.add_argument("--zone", default="", help="its zone, for locality failover")
    parser.add_argument("--ads", choices=["delta", "sotw"], default="delta", help="xDS variant (default %(default)s)")
    parser.add_argument(
        "--admin-port", type=int, default=9901, help="port of Envoy's admin server on 127.0.0.1 (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the bootstrap; 1 when the policy has errors or an address cannot be read."""
    import sys

    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.cli.policy_file import read_policy
    from control_plane.cli.quoted_yaml import dump
    from control_plane.compile import bootstrap
    from ext_proc.core.address import SocketAddress, parse_address

    try:
        xds = parse_address(args.xds)
        admin = parse_address(f"127.0.0.1:{args.admin_port}")
    except ValueError as error:
        print(f"kvpilot bootstrap: {error}", file=sys.stderr)
        return 1
    assert isinstance(admin, SocketAddress)
    if read_policy(args.policy) is None:
        return 1
    document = bootstrap(
        bootstrap_template=bootstrap_template(),
        xds=xds,
        node_id=args.node_id,
        node_cluster=args.node_cluster,
        region=args.region,
        zone=args.zone,
        ads=args.ads,
        admin=admin,
    )
    print(dump(document), end="")
    return 0
