"""`kvpilot drill FILE`: something is broken on purpose, under load, and what that costs is held against bounds."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.cli.argument_types import reader
from control_plane.cli.live_endpoint import endpoint_base

if TYPE_CHECKING:
    from control_plane.drills.facts import Facts
    from control_plane.drills.reading import DrillFile, Place
    from control_plane.policy.model import Policy

NAME = "drill"
HELP = "break something on purpose, under load: what was lost, for how long, and whether stated bounds hold"

OUTPUTS = ("text", "json")
EX_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and where it is played."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the drill; examples/drills/ has some")
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the report (default: text)")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with the file")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep what the processes wrote there")
    parser.add_argument(
        "--target",
        type=reader("a URL", endpoint_base),
        metavar="URL",
        help="a staging fleet instead of simulated pods: only pods are broken whose fault URL the file has in `allow`",
    )
    parser.add_argument(
        "--target-admin",
        type=reader("a URL", endpoint_base),
        default="http://127.0.0.1:9909",
        metavar="URL",
        help="the admin server of its picker (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """0 when all bounds hold; 1 when one does not, or the drill could not be played; 130 when it was stopped."""
    import asyncio

    from control_plane.cli.policy_file import checked_file
    from control_plane.drills.reading import forbidden, places_of, read_drill, unknown
    from control_plane.policy import format_text

    try:
        text = args.file.read_bytes().decode()
    except (OSError, ValueError) as error:
        return _failed(f"{args.file}: cannot be read: {getattr(error, 'strerror', None) or error}")
    file, diagnostics = read_drill(text, str(args.file))
    for diagnostic in diagnostics:
        print(format_text(diagnostic), file=sys.stderr)
    if file is None:
        return 1
    path = args.file.parent / file.drill.policy
    result = checked_file(str(path))
    if result.document is None or path.is_dir():
        for diagnostic in result.diagnostics:
            print(format_text(diagnostic), file=sys.stderr)
        return _failed(f"{file.mark('policy')}: the policy {path} " + ("is no file" if path.is_dir() else "has errors"))
    policy = result.document.policy
    places = places_of(policy)
    problems = unknown(file, places)
    problems += forbidden(file, places) if args.target else _about_stage(file, policy, places)
    if problems or args.check:
        return _failed("\n".join(problems)) if problems else 0
    try:
        return asyncio.run(_drill(args, file, policy, path.read_text(), places))
    except _start_errors() as error:
        return _failed(f"kvpilot drill: {error}")


def _failed(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _about_stage(file: "DrillFile", policy: "Policy", places: "tuple[Place, ...]") -> list[str]:
    """What of a policy cannot be played with simulated pods."""
    from control_plane.drills.model import MAX_PODS

    found = []
    if not places or not policy.listeners:
        found.append("a drill needs a policy with a listener and with endpoints by address")
    if len(places) > MAX_PODS:
        found.append(f"the policy has {len(places)} endpoints, more than {MAX_PODS}")
    if any(pool.discovered for pool in policy.pools):
        # They would be found, and real pods would get the load.
        found.append("the policy has endpoints that are discovered; a drill needs them by address")
    return [f"{file.mark('policy')}: {text}" for text in found]


def _start_errors() -> tuple[type[Exception], ...]:
    from control_plane.drills.play import NotReadyError
    from control_plane.drills.worker import NotStartedError
    from control_plane.sidecar.envoy_process import EnvoyUnavailableError

    return NotReadyError, NotStartedError, EnvoyUnavailableError, OSError


async def _drill(
    args: argparse.Namespace, file: "DrillFile", policy: "Policy", text: str, places: "tuple[Place, ...]"
) -> int:
    import asyncio

    from control_plane.cli.signals import stopping

    with stopping() as stopped:
        playing = asyncio.create_task(_played(args, file, policy, text, places), name="drill")
        stop = asyncio.create_task(stopped.wait(), name="signals")
        await asyncio.wait({playing, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        is_stopped = not playing.done()
        if is_stopped:
            playing.cancel()
        await asyncio.gather(playing, stop, return_exceptions=True)
    if is_stopped:
        return EX_INTERRUPTED
    return _report(args, file, playing.result())


async def _played(
    args: argparse.Namespace, file: "DrillFile", policy: "Policy", text: str, places: "tuple[Place, ...]"
) -> "Facts":
    import tempfile
    from contextlib import AsyncExitStack

    import aiohttp

    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.drills.play import play
    from control_plane.drills.stage import Stage
    from control_plane.drills.target import Target

    drill = file.drill
    models = drill.load.models or tuple(model.name for model in policy.models)

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        if args.target:
            ground: Stage | Target = Target(session, drill, places, args.target, args.target_admin)
        else:
            if args.logs is None:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvpilot-drill-")))
            else:
                directory = args.logs
                directory.mkdir(parents=True, exist_ok=True)
            say(f"starting {len(places)} simulated pods, kvpilot and Envoy")
            stage = Stage(session, drill, policy, text, places, directory, bootstrap_template())
            ground = await stack.enter_async_context(stage)
        say(f"{drill.load.rate} requests per second for {drill.duration_s:g} s")
        return await play(session, ground, drill, places, models, say)


def _report(args: argparse.Namespace, file: "DrillFile", facts: "Facts") -> int:
    import json

    from control_plane.drills.judge import verdicts
    from control_plane.drills.report import as_json, lines

    found = list(verdicts(file.drill, facts))
    if args.output == "json":
        print(json.dumps(as_json(file, facts, found), indent=1, ensure_ascii=False))
    else:
        print(*lines(file, facts, found), sep="\n")
    return int(not all(one.holds for one in found))
