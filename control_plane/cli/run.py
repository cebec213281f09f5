"""`kvpilot run`: the sidecar, under a user's policy, with or without an Envoy of ours."""

import argparse
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.cli.argument_types import address, duration, tcp_address

if TYPE_CHECKING:
    import asyncio

    from control_plane.sidecar.sidecar import Sidecar
    from ext_proc.core.address import SocketAddress

NAME = "run"
HELP = "the sidecar: serves xDS, ext_proc and access logs under POLICY; starts an Envoy too unless --no-envoy"

ROLES = ("xds", "picker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The contract is the table in docs/operations.md."""
    parser.add_argument("policy", type=Path, help="a file or a directory; edits are applied without a restart")
    parser.add_argument("--no-envoy", action="store_true", help="an Envoy of your own connects (kvpilot bootstrap)")
    parser.add_argument("--roles", type=_roles, default=frozenset(ROLES), help="xds, picker or xds,picker (default)")
    parser.add_argument(
        "--xds", type=address, default="127.0.0.1:18000", metavar="ADDR", help="xDS gRPC (default %(default)s)"
    )
    parser.add_argument(
        "--ext-proc",
        type=address,
        default="127.0.0.1:9002",
        metavar="ADDR",
        help="ext_proc and access log gRPC (default %(default)s)",
    )
    parser.add_argument(
        "--admin", type=address, default="127.0.0.1:9909", metavar="ADDR", help="admin HTTP (default %(default)s)"
    )
    parser.add_argument(
        "--load-reports", type=address, default=None, metavar="ADDR", help="load reports gRPC (default: none are taken)"
    )
    parser.add_argument("--ads", choices=["delta", "sotw"], default="delta", help="xDS variant of our Envoy")
    parser.add_argument(
        "--envoy-admin", type=tcp_address, default="127.0.0.1:0", metavar="HOST:PORT", help="admin address of our Envoy"
    )
    parser.add_argument("--region", default="", help="region of the Envoy, for locality failover")
    parser.add_argument("--zone", default="", help="zone of the Envoy, for locality failover")
    parser.add_argument(
        "--dns", type=tcp_address, metavar="HOST:PORT", help="name server for discovery (default: the machine's)"
    )
    parser.add_argument(
        "--drain-time",
        type=duration,
        default=0.0,
        metavar="DURATION",
        help="on SIGTERM, how long running requests may go on in our Envoy, such as 30s (default: not at all)",
    )
    parser.add_argument("--state-dir", type=Path, help="keeps the last good policies, and our Envoy's files")


def _roles(text: str) -> frozenset[str]:
    roles = frozenset(text.split(","))
    if not roles <= set(ROLES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {' and '.join(ROLES)}")
    return roles


def default_state_dir(policy: Path) -> Path:
    """`$XDG_STATE_HOME/kvpilot/<hash of the policy's path>`: two policies on one machine do not meet."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "kvpilot" / hashlib.sha256(os.fsencode(policy.absolute())).hexdigest()[:16]


def _state_dir_or_none(policy: Path) -> Path | None:
    """The same where there is a home directory; without one nothing outlives a restart."""
    try:
        return default_state_dir(policy)
    except RuntimeError:
        return None


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM; 0 then, 1 when it could not start or its Envoy ended by itself."""
    import asyncio
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return asyncio.run(_serve(args))


def name_server(text: str | None) -> "SocketAddress | None":
    """The address of `--dns`, which is one of TCP's form: both transports are asked there."""
    from ext_proc.core.address import SocketAddress, parse_address

    server = parse_address(text) if text else None
    return server if isinstance(server, SocketAddress) else None


async def _serve(args: argparse.Namespace) -> int:
    import sys

    from control_plane.cli import EX_USAGE
    from control_plane.cli.envoy_files import bootstrap_template
    from control_plane.cli.signals import stopping
    from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
    from control_plane.sidecar.sidecar import Sidecar, start_errors

    if args.load_reports and "picker" not in args.roles:
        print("--load-reports is the picker's: it needs the role `picker`", file=sys.stderr)
        return EX_USAGE
    envoy = None
    if not args.no_envoy:
        envoy = EnvoyOptions(
            directory=args.state_dir or default_state_dir(args.policy),
            template=bootstrap_template(),
            ads=args.ads,
            admin=args.envoy_admin,
        )
    sidecar = Sidecar(
        SidecarOptions(
            policy=args.policy,
            xds=args.xds,
            ext_proc=args.ext_proc,
            admin=args.admin,
            load_reports=args.load_reports or "",
            roles=args.roles,
            region=args.region,
            zone=args.zone,
            dns=name_server(args.dns),
            state_dir=args.state_dir or _state_dir_or_none(args.policy),
            envoy=envoy,
        )
    )
    with stopping() as stopped:
        try:
            await sidecar.start()
        except start_errors() as error:
            print(error, file=sys.stderr)
            return 1
        try:
            return await _until_stopped(sidecar, stopped, args.drain_time)
        finally:
            await sidecar.stop()


async def _until_stopped(sidecar: "Sidecar", stopped: "asyncio.Event", drain_s: float = 0.0) -> int:
    import asyncio
    import logging

    log = logging.getLogger("kvpilot")
    addresses = {
        "admin": sidecar.admin_address,
        "xds": sidecar.xds_address,
        "ext_proc": sidecar.ext_proc_address,
        "load reports": sidecar.load_reports_address,
    }
    log.info("serving %s", "  ".join(f"{name} {address}" for name, address in addresses.items() if address))
    told = asyncio.create_task(stopped.wait(), name="signals")
    envoy_ended = asyncio.create_task(sidecar.envoy_ended(), name="envoy ended")
    await asyncio.wait((told, envoy_ended), return_when=asyncio.FIRST_COMPLETED)
    ended = envoy_ended.done()
    for task in (told, envoy_ended):
        task.cancel()
    await asyncio.gather(told, envoy_ended, return_exceptions=True)
    if ended and sidecar.envoy is not None:
        log.error("envoy ended by itself; the end of %s:\n%s", sidecar.envoy.log_path, sidecar.envoy.log_tail())
        return 1
    await _part(sidecar, stopped, drain_s)
    log.info("stopping")
    return 0


async def _part(sidecar: "Sidecar", stopped: "asyncio.Event", drain_s: float) -> None:
    """Lets requests end; a second signal ends that."""
    import asyncio

    stopped.clear()
    parting = asyncio.create_task(sidecar.part(drain_s), name="parting")
    told = asyncio.create_task(stopped.wait(), name="second signal")
    await asyncio.wait((parting, told), return_when=asyncio.FIRST_COMPLETED)
    for task in (parting, told):
        task.cancel()
    await asyncio.gather(parting, told, return_exceptions=True)
