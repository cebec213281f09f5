"""`kvpilot drain POOL/ADDRESS…`: nothing new goes there; waits until what runs there has ended, and it is taken out."""

import argparse
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

from control_plane.cli.admin_client import AdminError, add_admin, ask_for
from control_plane.cli.argument_types import duration

NAME = "drain"
HELP = "take endpoints out of service: nothing new goes there, and what runs there may end"

POLL_S = 0.2
"""Between two looks; each costs the sidecar a fraction of a millisecond."""

AWAY_S = 15.0
"""How long the sidecar may not answer meanwhile: it remembers its drains over a restart."""

CONFIRM_S = 1.0
"""After the deadline, for Envoys to confirm that it is taken out, which takes milliseconds."""

EXIT_STILL_RUNNING = 2
"""The deadline has passed, and requests still run there, or an Envoy has not confirmed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, for how long, and which sidecar."""
    add_endpoints(parser)
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar="DURATION",
        help="how long running requests are waited for, such as 30s (default: the pool's drain.timeout)",
    )
    parser.add_argument("--no-wait", action="store_true", help="return at once; `kvpilot status` shows how far it is")
    parser.add_argument("--force", action="store_true", help="although nobody would be left to serve a pool")
    add_admin(parser)


def add_endpoints(parser: argparse.ArgumentParser) -> None:
    """The endpoints that a verb is about."""
    parser.add_argument(
        "endpoints",
        nargs="+",
        metavar="POOL/ADDRESS",
        help="an endpoint; POOL alone: all of its endpoints; `*` stands for any text: '*/10.0.0.1:8000'",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what runs there whenever that changes; 0 when all is drained, 1 when refused, 2 when not in time."""
    order = {"endpoints": args.endpoints, "timeout": args.timeout, "force": args.force}
    try:
        answer = ask_for(args.admin, "POST", "/drain", order, expected=202)
        drains = answer["drains"]
        if answer.get("warning"):
            print(f"warning: {answer['warning']}", file=sys.stderr)
        if args.no_wait:
            for row in drains:
                print(_line(row))
            return 0
        keys = [(row["pool"], row["address"]) for row in drains]
        return wait(keys, lambda: _rows(args.admin))
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1


def _rows(admin: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask_for(admin, "GET", "/drains")["drains"]
    return rows


def wait(
    keys: Collection[tuple[str, str]],
    ask: Callable[[], list[dict[str, Any]]],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Follows the drains of `keys`, which `ask` tells, to their end.

    Raises AdminError when nobody has answered for `AWAY_S`.
    """
    printed: dict[tuple[str, str], str] = {}
    answered_at = clock()
    over_at: float | None = None
    while True:
        try:
            rows = {(row["pool"], row["address"]): row for row in ask() if row["by"] == "operator"}
            answered_at = clock()
        except AdminError:
            if clock() - answered_at > AWAY_S:
                raise
            sleep(POLL_S)
            continue
        for key in keys:
            line = _line(rows[key]) if key in rows else f"{'/'.join(key)}: drains no more, somebody has ended that"
            if printed.get(key) != line:
                print(line, flush=True)
                printed[key] = line
        here = [rows[key] for key in keys if key in rows]
        if all(row["state"] == "drained" for row in here):
            return 0 if len(here) == len(keys) else 1
        if all(row["state"] == "drained" or _is_late(row) for row in here):
            over_at = clock() if over_at is None else over_at
            if clock() - over_at >= CONFIRM_S:
                return EXIT_STILL_RUNNING
        sleep(POLL_S)


def _is_late(row: dict[str, Any]) -> bool:
    return bool(row["is_over"]) and row["state"] == "removed"


def _line(row: dict[str, Any]) -> str:
    running = row["running"]
    if row["state"] == "drained":
        what = "nothing runs there, and no Envoy knows it" if not running else f"{running} of other pools run there"
    elif running is None:
        what = "what runs there is not known yet"
    elif running == 0 and row["state"] == "removed":
        what = "nothing runs there; not every Envoy has confirmed"
    else:
        what = f"{running} {'request runs' if running == 1 else 'requests run'} there"
    late = ", and the time is over" if _is_late(row) else ""
    return f"{row['pool']}/{row['address']}: {row['state']}; {what}{late}"
