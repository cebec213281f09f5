"""`kvpilot rollback [VERSION]`: an earlier policy, on a running sidecar, until the file is edited again."""

import argparse
import sys

from control_plane.cli.admin_client import AdminError, add_admin, ask_for

NAME = "rollback"
HELP = "go back to an earlier version of the policy on a running sidecar"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which version, and of which sidecar."""
    parser.add_argument(
        "version",
        nargs="?",
        default="",
        metavar="VERSION",
        help="a version of `kvpilot status` (default: the last good)",
    )
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the version that is served now; 1 when it could not be done, and standard error says why."""
    try:
        answer = ask_for(args.admin, "POST", "/rollback", {"version": args.version} if args.version else {})
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"serving policy {answer.get('version', '')}; the next edit of the file ends this")
    return 0
