"""`kvpilot bootstrap`: the file that an Envoy of one's own starts from."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.cli.argument_types import address, port

if TYPE_CHECKING:
    from control_plane.policy import Document
    from control_plane.policy.security import EnvoyTls

NAME = "bootstrap"
HELP = "the bootstrap for an Envoy of your own, YAML on standard output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where things are, and what this Envoy is called."""
    parser.add_argument("policy", type=Path, help="the policy; of it only `controlPlane.xds.tls.envoy` is used")
    parser.add_argument(
        "--xds", type=address, default="127.0.0.1:18000", metavar="ADDR", help="kvpilot's xDS (default %(default)s)"
    )
    parser.add_argument("--node-id", default="kvpilot-envoy", help="the Envoy's name in status (default %(default)s)")
    parser.add_argument(
        "--node-cluster", default="kvpilot", help="its cluster, for `groups` of the policy (default %(default)s)"
    )
    parser.add_argument("--region", default="", help="its region, for locality failover")
    parser.add_argument("--zone", default="", help="its zone, for locality failover")
    parser.add_argument("--ads", choices=["delta", "sotw"], default="delta", help="xDS variant (default %(default)s)")
    parser.add_argument(
        "--admin-port", type=port, default=9901, help="port of Envoy's admin server on 127.0.0.1 (default %(default)s)"
    )
    tls = parser.add_argument_group(
        "TLS to kvpilot's xDS", "Files on Envoy's machine; each takes the place of what the policy says."
    )
    tls.add_argument("--xds-ca", metavar="FILE", help="authorities that kvpilot's certificate must come from")
    tls.add_argument("--xds-cert", metavar="FILE", help="this Envoy's certificate, for mode MUTUAL")
    tls.add_argument("--xds-key", metavar="FILE", help="its private key")
    tls.add_argument("--xds-sni", metavar="NAME", help="the name that kvpilot's certificate must have")


def run(args: argparse.Namespace) -> int:
    """Prints the bootstrap; 1 when the policy has errors."""
    from control_plane.cli import EX_USAGE
    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.cli.policy_file import read_policy
    from control_plane.cli.quoted_yaml import dump
    from control_plane.compile import bootstrap
    from ext_proc.core.address import SocketAddress, parse_address

    policy = read_policy(args.policy)
    if policy is None:
        return 1
    xds_tls = _xds_tls(args, policy)
    if xds_tls is not None and not (
        xds_tls.ca_certificates and bool(xds_tls.client_certificate) == bool(xds_tls.private_key)
    ):
        print("TLS needs --xds-ca, and --xds-cert and --xds-key only together", file=sys.stderr)
        return EX_USAGE
    document = bootstrap(
        bootstrap_template=bootstrap_template(),
        xds=parse_address(args.xds),
        node_id=args.node_id,
        node_cluster=args.node_cluster,
        region=args.region,
        zone=args.zone,
        ads=args.ads,
        admin=SocketAddress("127.0.0.1", args.admin_port),
        xds_tls=xds_tls,
    )
    print(dump(document), end="")
    return 0


def _xds_tls(args: argparse.Namespace, document: "Document") -> "EnvoyTls | None":
    """What the policy says, under what the command line says; None for plaintext."""
    from control_plane.policy.named_files import resolved
    from control_plane.policy.security import EnvoyTls

    ports = document.policy.control_plane.xds
    base = args.policy.absolute() if args.policy.is_dir() else args.policy.absolute().parent
    said = resolved(ports.tls.envoy, base) if ports.tls and ports.tls.envoy else None
    given = (args.xds_ca, args.xds_cert, args.xds_key, args.xds_sni)
    if said is None and not any(given):
        return None
    said = said or EnvoyTls(ca_certificates="")
    return EnvoyTls(
        ca_certificates=args.xds_ca or said.ca_certificates,
        client_certificate=args.xds_cert or said.client_certificate,
        private_key=args.xds_key or said.private_key,
        subject_alt_names=said.subject_alt_names,
        sni=args.xds_sni or said.sni,
    )
