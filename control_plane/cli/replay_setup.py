"""The part of `kvpilot replay` that says what a trace is played over: engines, routers, network, what goes wrong."""

import argparse
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from control_plane.cli.argument_types import delay, number, positive, reader, share

if TYPE_CHECKING:
    from ext_proc.core.settings import PoolSettings
    from sim.virtual.faults import Fault
    from sim.virtual.setup import Setup

MAX_RUNS_OF_A_KIND = 1_000
"""Seeds, routers, zones or processes: more are a mistake."""

MAX_ENGINES = 4_096
"""As `sim.virtual.setup.MAX_ENGINES`, which is not read before it is needed."""

DEFAULT_ENGINES = 8
DEFAULT_PROFILE = "h100-8b"

DEFAULT_EVENT_MS = 5.0
"""As `Setup.kv_event_delay_s`."""

NEVER = "never"
"""The word for an interval without an end."""

# Digits of a millisecond or of a factor in a report: what is asked for on a command line has fewer.
_DIGITS = 6


def add_setup_arguments(parser: argparse.ArgumentParser) -> None:
    """The arrangement."""
    few = number(1, MAX_RUNS_OF_A_KIND)
    parser.add_argument(
        "--engines", type=number(1, MAX_ENGINES), help="engines (default: the pool's endpoints, else 8)"
    )
    parser.add_argument("--profile", default=DEFAULT_PROFILE, help="what the engines are (default %(default)s)")
    parser.add_argument("--kv", type=positive, default=1.0, metavar="X", help="the engines' KV memory times X")
    parser.add_argument(
        "--no-prefix-caching", action="store_true", help="the engines keep nothing of a prompt for later ones"
    )
    parser.add_argument("--routers", type=few, default=1, help="routers that share the requests (default 1)")
    parser.add_argument(
        "--network-ms", type=delay, default=0.5, metavar="MS", help="one way between router and engine (default 0.5)"
    )
    parser.add_argument("--zones", type=few, help="zones in which engines and routers stand in turn (default: unknown)")
    parser.add_argument("--zone", default="", help="the zone of --policy in which the routers stand (default: unknown)")
    parser.add_argument(
        "--zone-ms", type=delay, default=0.5, metavar="MS", help="what one way to another zone is longer (default 0.5)"
    )
    parser.add_argument(
        "--scrape-ms", type=_interval, default=200.0, metavar="MS|never", help="interval of scrapes (default 200)"
    )
    parser.add_argument(
        "--first-tokens",
        type=_interval,
        default=250.0,
        metavar="MS|never",
        help="interval of a request's log records, from which first tokens are known (default 250)",
    )
    parser.add_argument(
        "--estimate", type=positive, default=1.0, metavar="X", help="routers take prompts for X times as long"
    )
    parser.add_argument(
        "--kv-events",
        type=delay,
        nargs="?",
        const=DEFAULT_EVENT_MS,
        metavar="MS",
        help=f"engines tell routers what they cache, which these know after MS (without MS: {DEFAULT_EVENT_MS:g})",
    )
    parser.add_argument(
        "--exchange-ms",
        type=delay,
        metavar="MS",
        help="routers that can do so tell each other of their requests, known after MS (default: they do not)",
    )
    parser.add_argument("--first-byte-s", type=positive, help="limit of a try to its first token (default: none)")
    parser.add_argument(
        "--give-up", type=positive, metavar="SECONDS", help="clients go away without a first token after so long"
    )
    parser.add_argument(
        "--abort", type=share, default=0.0, metavar="SHARE", help="share of clients that go away in mid-answer"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=reader("a fault", _fault),
        metavar="FAULT",
        help="slow:POD:X[@T..T], crash:POD@T, restart:POD@T..T, hang:POD@T..T or fail:POD:SHARE[@T..T], times in "
        "seconds; repeatable",
    )


def setup_of(args: argparse.Namespace, pool: "PoolSettings") -> "Setup":
    """The arrangement that the words ask for. Raises ValueError for one that cannot be."""
    from sim.hardware import named
    from sim.virtual.production import ProductionFactory
    from sim.virtual.setup import Setup

    engines = args.engines or len(pool.endpoints) or DEFAULT_ENGINES
    zones, router_zones = _zones(args, pool, engines)
    return Setup(
        factory=ProductionFactory(pool.strategy, pool),
        profile=replace(named(args.profile).with_memory(args.kv), prefix_caching=not args.no_prefix_caching),
        engines=engines,
        zones=zones,
        router_zones=router_zones,
        zone_s=args.zone_ms / 1e3,
        routers=args.routers,
        network_s=args.network_ms / 1e3,
        scrape_s=args.scrape_ms / 1e3,
        report_s=None if args.first_tokens == inf else args.first_tokens / 1e3,
        estimate=args.estimate,
        kv_events=args.kv_events is not None,
        kv_event_delay_s=(DEFAULT_EVENT_MS if args.kv_events is None else args.kv_events) / 1e3,
        exchange_s=None if args.exchange_ms is None else args.exchange_ms / 1e3,
        first_byte_s=args.first_byte_s or pool.first_byte_s,
        give_up_s=args.give_up,
        abort_share=args.abort,
        faults=tuple(args.fault),
    )


def _zones(args: argparse.Namespace, pool: "PoolSettings", engines: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the engines, and those of the routers."""
    if args.zones:
        if pool.endpoints:
            raise ValueError("--zones is for fleets without a policy; a policy has its own: --zone says which is near")
        made = tuple(f"zone-{number}" for number in range(1, min(args.zones, engines) + 1))
        return made, made
    told = tuple(endpoint.zone for endpoint in pool.endpoints) if len(pool.endpoints) == engines else ()
    if args.zone and args.zone not in told:
        known = ", ".join(sorted(filter(None, set(told)))) or "none"
        raise ValueError(f"no endpoint is in the zone {args.zone!r}; zones of this fleet: {known}")
    return told, (args.zone,) if args.zone else ()


def described(args: argparse.Namespace, setup: "Setup") -> dict[str, Any]:
    """The JSON values of an arrangement; an interval without an end is null."""
    return {
        "engines": setup.engines,
        "profile": args.profile,
        "kv": setup_number(args.kv),
        "prefix_caching": setup.profile.prefix_caching,
        "routers": setup.routers,
        "zones": list(dict.fromkeys(filter(None, setup.zones))),
        "router_zones": list(setup.router_zones),
        "zone_ms": setup_number(args.zone_ms),
        "network_ms": setup_number(args.network_ms),
        "scrape_ms": setup_number(args.scrape_ms),
        "first_tokens_ms": setup_number(args.first_tokens),
        "estimate": setup_number(args.estimate),
        "kv_events_ms": None if args.kv_events is None else setup_number(args.kv_events),
        "exchange_ms": None if args.exchange_ms is None else setup_number(args.exchange_ms),
        "first_byte_s": setup.first_byte_s,
        "give_up_s": setup.give_up_s,
        "abort_share": setup_number(setup.abort_share),
        "faults": [
            {"kind": f.kind, "pod": f.pod, "start_s": f.start_s, "end_s": f.end_s, "factor": f.factor}
            for f in setup.faults
        ],
    }


def fleet_words(args: argparse.Namespace, setup: "Setup") -> str:
    """The arrangement in a line of a report: what it always says, and what is not as usual."""
    words = [f"{setup.engines} × {args.profile}", f"routers: {setup.routers}", f"scrapes: {_ms(args.scrape_ms)}"]
    unusual = (
        (bool(setup.router_zones), f"zones: {len(set(setup.zones))}, {_ms(args.zone_ms)} further each way"),
        (args.kv != 1, f"KV memory × {args.kv:g}"),
        (args.no_prefix_caching, "no prefix caching"),
        (args.network_ms != 0.5, f"network: {_ms(args.network_ms)} each way"),
        (args.first_tokens != 250, f"first tokens known: {_ms(args.first_tokens)}"),
        (args.kv_events is not None, f"KV-cache events: {args.kv_events or 0:g} ms"),
        (args.exchange_ms is not None, f"exchange between routers: {args.exchange_ms or 0:g} ms"),
        (args.estimate != 1, f"lengths taken for {args.estimate:g} times the truth"),
        (setup.first_byte_s is not None, f"a try's first token within {setup.first_byte_s or 0:g} s"),
        (args.give_up is not None, f"clients give up after {args.give_up or 0:g} s"),
        (args.abort, f"clients that leave in mid-answer: {args.abort:.0%}"),
        (bool(setup.faults), "faults: " + " ".join(map(str, setup.faults))),
    )
    return ", ".join([*words, *(text for is_said, text in unusual if is_said)])


def setup_number(value: float) -> float | None:
    """A number of a report; None for one without an end, which JSON does not know."""
    return None if value == inf else round(value, _DIGITS)


def _ms(value: float) -> str:
    return NEVER if value == inf else f"{value:g} ms"


# --- words of the command line ----------------------------------------------------------------------------------------


def _interval(text: str) -> float:
    return inf if text == NEVER else positive(text)


def _fault(text: str) -> "Fault":
    from sim.virtual.faults import fault

    return fault(text)
