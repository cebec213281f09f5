"""`kvpilot notify`: sends a test notice to every webhook of a running sidecar, and says which took it."""

import argparse
import sys

from control_plane.cli.admin_client import AdminError, add_admin, ask_for

NAME = "notify"
HELP = "send a test notice to every webhook of a running sidecar"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which sidecar."""
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a line for each webhook; 1 when one did not take it, when there is none, and when nobody answers."""
    try:
        outcomes = ask_for(args.admin, "POST", "/notify")["webhooks"]
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    if not outcomes:
        print("the policy has no webhooks", file=sys.stderr)
        return 1
    for outcome in outcomes:
        print(f"{outcome['webhook']}: {outcome['error'] or 'delivered'}")
    return int(any(outcome["error"] for outcome in outcomes))
