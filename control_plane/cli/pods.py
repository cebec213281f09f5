"""`kvpilot pods`: simulated inference pods, until SIGTERM."""

import argparse

from control_plane.cli.argument_types import number, port

NAME = "pods"
HELP = "simulated inference pods (OpenAI API, metrics of several engines); addresses are printed one per line"

DIALECTS = ("vllm", "sglang", "trtllm", "llamacpp", "tgi", "lmdeploy")
"""Those of `sim.dialects`, which takes too long to load for a list of verbs."""

MAX_PODS = 256
"""They share one process; more are no use on one machine."""

MAX_BLOCK_SIZE = 4_096
"""Tokens of a KV block; real engines have up to 128, some hybrid models up to 1,056."""

KV_SHAPES = ("map", "array")
REPLAY_OFFSET = 1_000
"""From the port of KV events to that of their replays."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many, where, and what they serve."""
    parser.add_argument("--count", type=number(1, MAX_PODS), default=1, help="number of pods (default 1)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    parser.add_argument("--base-port", type=port, default=0, help="first port, the others follow; 0 = the OS chooses")
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="NAME",
        help="a model to serve; repeatable (default sim-model)",
    )
    parser.add_argument(
        "--profile", default="demo", help="what their engines are, as for kvpilot replay (default %(default)s)"
    )
    parser.add_argument(
        "--block-size", type=number(1, MAX_BLOCK_SIZE), metavar="TOKENS", help="of a KV block (default: the profile's)"
    )
    parser.add_argument(
        "--no-prefix-caching", action="store_true", help="their engines keep nothing of a prompt for later ones"
    )
    parser.add_argument(
        "--engine",
        choices=DIALECTS,
        help="whose metrics they show: a policy's `engine` (default: that of the profile; APIs are always vLLM's)",
    )
    parser.add_argument(
        "--kv-events",
        type=port,
        metavar="PORT",
        help="tell over ZMQ what is cached: the first pod at PORT, the others at the ports that follow; replays are "
        f"{REPLAY_OFFSET} ports above",
    )
    parser.add_argument(
        "--kv-shape", choices=KV_SHAPES, default="map", help="shape of these messages: vLLM's from 0.24, or before"
    )


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    import asyncio

    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    import sys
    from dataclasses import replace

    from control_plane.cli.signals import stopping
    from sim.fleet import DEFAULT_MODEL, SimFleet, pod_specs
    from sim.hardware import named
    from sim.kv_publisher import KvPorts

    kv = None
    if args.kv_events is not None:
        kv = KvPorts(
            host=args.host,
            port=args.kv_events,
            replay_port=args.kv_events and args.kv_events + REPLAY_OFFSET,
            shape=args.kv_shape,
        )
    try:
        profile = replace(named(args.profile), prefix_caching=not args.no_prefix_caching)
        specs = pod_specs(
            args.count,
            models=tuple(args.models or (DEFAULT_MODEL,)),
            host=args.host,
            base_port=args.base_port,
            profile=profile if args.block_size is None else profile.with_block_size(args.block_size),
            dialect=args.engine or "",
            kv=kv,
        )
        with stopping() as stopped:
            async with SimFleet(specs) as fleet:
                print(*fleet.addresses, sep="\n", flush=True)
                await stopped.wait()
    except ValueError as error:
        print(f"kvpilot pods: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        ports = f"port {args.base_port}" + (f" to {args.base_port + args.count - 1}" if args.count > 1 else "")
        print(f"kvpilot pods: cannot listen on {args.host}, {ports}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0
