"""`kvpilot reload`: reads the policy again on a running sidecar; `--force` also when the removal guard refused it."""

import argparse
import sys
from typing import Any

from control_plane.cli.admin_client import AdminError, add_admin, ask, error_text, finding_line

NAME = "reload"
HELP = "read the policy again on a running sidecar"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to insist, and which sidecar."""
    parser.add_argument("--force", action="store_true", help="apply it although it removes more than `safety` allows")
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the version that is served now; 1 when it was refused, and standard error says why."""
    try:
        status, answer = ask(args.admin, "POST", "/reload", {"force": args.force})
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    _print_findings(answer)
    if status != 200:
        print(error_text(answer) or f"the sidecar answers {status}", file=sys.stderr)
        return 1
    print(f"serving policy {answer.get('version', '')}")
    return 0


def _print_findings(answer: Any) -> None:
    for one in answer.get("diagnostics", ()) if isinstance(answer, dict) else ():
        print(finding_line(one), file=sys.stderr)
