"""`kvpilot demo`: simulated pods, kvpilot and a real Envoy on this machine; shows what was picked and why."""

import argparse
from pathlib import Path

from control_plane.cli.argument_types import number, tcp_address

NAME = "demo"
HELP = "simulated pods, kvpilot and a real Envoy; sends requests, shows who was picked and why, keeps running"

MIN_PODS = 2
"""With one pod there is nothing to pick, and none is left when the demonstration kills one."""
REPORT_WIDTH = 120
MAX_PODS = 16
"""Each is a process on this machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The contract is the table in docs/operations.md."""
    parser.add_argument("--once", action="store_true", help="end after the report; status 1 if any request failed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument(
        "--listen", type=tcp_address, default="127.0.0.1:8080", metavar="HOST:PORT", help="default %(default)s"
    )
    parser.add_argument(
        "--admin", type=tcp_address, default="127.0.0.1:9909", metavar="HOST:PORT", help="default %(default)s"
    )
    parser.add_argument(
        "--pods", type=number(MIN_PODS, MAX_PODS), default=4, metavar="N", help="simulated pods (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """0 when no request failed and Envoy took all that was pushed."""
    import asyncio
    import sys

    from rich.console import Console

    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.cli.signals import stopping
    from control_plane.demo.run import DemoOptions, play, start_errors

    options = DemoOptions(
        listen=args.listen,
        admin=args.admin,
        pods=args.pods,
        once=args.once,
        json=args.json,
        template=bootstrap_template(),
    )
    # Without a terminal rich assumes 80 columns, too few for the first table.
    console = Console() if sys.stdout.isatty() else Console(width=REPORT_WIDTH)

    async def demo() -> bool:
        with stopping() as stopped:
            return await play(options, console, stopped.wait)

    try:
        return 0 if asyncio.run(demo()) else 1
    except start_errors() as error:
        print(f"kvpilot demo: {error}", file=sys.stderr)
        return 1
