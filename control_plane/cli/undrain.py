"""`kvpilot undrain POOL/ADDRESS…`: endpoints that were drained get requests again."""

import argparse
import sys

from control_plane.cli.admin_client import AdminError, add_admin, ask_for
from control_plane.cli.drain import add_endpoints

NAME = "undrain"
HELP = "put drained endpoints back into service"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, and which sidecar."""
    add_endpoints(parser)
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Prints who is back; 1 when nobody is, and standard error says why."""
    try:
        answer = ask_for(args.admin, "POST", "/undrain", {"endpoints": args.endpoints})
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    for endpoint in answer["endpoints"]:
        print(f"{endpoint['pool']}/{endpoint['address']}: serves again")
    return 0
