"""`kvpilot replay TRACE --live URL`: the trace sent to a real endpoint, open loop and on time."""

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from control_plane.cli.argument_types import number, positive, reader
from control_plane.cli.live_endpoint import PATHS, Endpoint, endpoint_base, sessions
from control_plane.cli.playing import progress_bar

if TYPE_CHECKING:
    import aiohttp

    from sim.sending.outcomes import Answered, Run
    from sim.sending.plan import Bounds, Plan, Send
    from sim.sending.prompts import Prompts, Sizing
    from sim.sending.report import Setting
    from sim.traces.trace import Trace

EX_INTERRUPTED = 130

MAX_IN_FLIGHT = 10_000
"""More connections than this are beyond what one client can be on time with."""

MAX_MODELS = 16
"""Models of one trace: the sizes of each are measured before anything is sent."""

PROBE_TIMEOUT_S = 60.0
"""A cold engine that is still loading is no engine to measure."""

SALT_BYTES = 4

_COMMON = frozenset({"trace", "live", "rate", "requests", "slo", "as_is", "output", "verb", "words", "default_of"})
_OWN = frozenset(
    {
        *("model", "api", "api_key_env", "max_rate", "duration", "max_in_flight", "timeout_s"),
        *("salt", "ignore_eos", "pod_header", "yes"),
    }
)
"""Words that only mean something with `--live`; those in neither set mean nothing with it."""


class NotSentError(Exception):
    """Nothing was sent, and why."""


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """What is sent to whom; to be called last, because it refers to the defaults of all others."""
    live = parser.add_argument_group("live", "send the trace to an endpoint instead of simulating one")
    live.add_argument(
        "--live", type=reader("a URL", endpoint_base), metavar="URL", help="an OpenAI endpoint: http://127.0.0.1:8080"
    )
    live.add_argument("--model", metavar="NAME", help="the model to ask for (default: what the trace names)")
    live.add_argument("--api", choices=list(PATHS), default="chat", help="(default chat)")
    live.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the endpoint's key")
    live.add_argument("--max-rate", type=positive, metavar="X", help="most requests within any second (default 10)")
    live.add_argument("--duration", type=positive, metavar="SECONDS", help="of the trace, at most (default 300)")
    live.add_argument(
        "--max-in-flight", type=number(1, MAX_IN_FLIGHT), metavar="N", help="most requests at once (default 256)"
    )
    live.add_argument("--timeout-s", type=positive, metavar="SECONDS", help="of one request (default 120)")
    live.add_argument(
        "--salt", metavar="WORD", help="the same word, the same texts, and warm caches (default: another one each time)"
    )
    live.add_argument(
        "--ignore-eos", action="store_true", help="ask for answers of the trace's length (vLLM, SGLang, llama.cpp)"
    )
    live.add_argument(
        "--pod-header",
        default="x-pod",
        metavar="NAME",
        help="header of answers that names the pod (default x-pod, as simulated pods have it)",
    )
    live.add_argument("--yes", action="store_true", help="send to another machine than this one")
    parser.set_defaults(default_of=parser.get_default)


def check_live(args: argparse.Namespace) -> None:
    """Raises ValueError for words that go with `--live` alone, or not with it."""
    given = {name for name, value in vars(args).items() if value != args.default_of(name)}
    wrong = given & _OWN if args.live is None else given - _COMMON - _OWN
    if wrong:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise ValueError(f"{said}: only with --live" if args.live is None else f"{said}: not with --live")
    if args.live is not None and args.rate and len(args.rate) > 1:
        raise ValueError("--live sends one rate at a time")


def live(args: argparse.Namespace, read: "Callable[[argparse.Namespace], dict[int, Trace]]") -> int:
    """Sends it and prints what came of it: 0, 1 when nothing was answered, 130 when it was stopped.

    Raises ValueError and TraceError for words or a trace that cannot be used.
    """
    trace = next(iter(read(args).values())).faster(args.rate[0] if args.rate else 1.0)
    models = _models(args, trace)
    endpoint = Endpoint(args.live, args.api, _headers(args.api_key_env), args.pod_header, args.ignore_eos)
    try:
        return asyncio.run(_live(args, trace, endpoint, models))
    except NotSentError as error:
        print(f"kvpilot replay: {error}", file=sys.stderr)
        return 1


async def _live(args: argparse.Namespace, trace: "Trace", endpoint: Endpoint, models: tuple[str, ...]) -> int:
    from control_plane.cli.signals import stopping
    from sim.sending.plan import plan

    bounds = _bounds(args)
    planned = plan(trace, bounds)
    _announce(args, planned, endpoint)
    salt = args.salt or secrets.token_hex(SALT_BYTES)
    with stopping() as stopped:
        async with sessions() as session:
            probes = asyncio.create_task(_probed(session, endpoint, models, trace.block_tokens, salt))
            prompts = await _unless(stopped, probes)
            if prompts is None:
                return EX_INTERRUPTED
            run = await _sent(session, endpoint, planned, bounds, prompts, args, stopped)
    sizes = {model: one.sizing for model, one in prompts.items()}
    _print(args, trace, _setting(args, endpoint, bounds, salt, sizes), run)
    if run.is_interrupted:
        return EX_INTERRUPTED
    return 0 if run.answered else 1


# --- before anything is sent ------------------------------------------------------------------------------------------


def _bounds(args: argparse.Namespace) -> "Bounds":
    from sim.sending.plan import Bounds

    given = {
        "max_rate": args.max_rate,
        "duration_s": args.duration,
        "max_in_flight": args.max_in_flight,
        "timeout_s": args.timeout_s,
    }
    return Bounds(**{name: value for name, value in given.items() if value is not None})


def _models(args: argparse.Namespace, trace: "Trace") -> tuple[str, ...]:
    named = (args.model,) if args.model else tuple(dict.fromkeys(request.model for request in trace.requests))
    if "" in named:
        raise ValueError("the trace does not say which model its requests are for: --model NAME")
    if len(named) > MAX_MODELS:
        raise ValueError(f"the trace has {len(named)} models, more than {MAX_MODELS}: --model NAME")
    return named


def _headers(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"--api-key-env {variable}: this variable is not set")
    return {"authorization": f"Bearer {key}"}


def _announce(args: argparse.Namespace, planned: "Plan", endpoint: Endpoint) -> None:
    """Says on standard error what is going to be sent; raises NotSentError where that needs a word of consent."""
    from sim.sending.plan import head

    for line in (f"target    {endpoint.url}", *head(planned)):
        print(line, file=sys.stderr)
    if not endpoint.is_loopback and not args.yes:
        raise NotSentError("this is another machine: say --yes to send that much to it")


async def _probed(
    session: "aiohttp.ClientSession", endpoint: Endpoint, models: tuple[str, ...], block_tokens: int, salt: str
) -> "dict[str, Prompts]":
    """How each model's prompts are written; two requests to each. Raises NotSentError when one is refused."""
    from sim.sending.outcomes import reason
    from sim.sending.prompts import PROBE_WORDS, Prompts, sizing

    found = {}
    for model in models:
        plain = Prompts(block_tokens, salt)
        probes = []
        for words in PROBE_WORDS:
            told = await endpoint.ask(session, endpoint.body(model, plain.probe(words), 1), PROBE_TIMEOUT_S)
            if not told.is_ok:
                raise NotSentError(f"{endpoint.url} does not answer a first request: {reason(told)}")
            probes.append((words, told.prompt_tokens))
        found[model] = Prompts(block_tokens, salt, sizing(probes))
    return found


async def _unless(stopped: asyncio.Event, task: "asyncio.Task[dict[str, Prompts]]") -> "dict[str, Prompts] | None":
    """What the task gives; None when it was stopped before."""
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


# --- sending and telling ----------------------------------------------------------------------------------------------


async def _sent(
    session: "aiohttp.ClientSession",
    endpoint: Endpoint,
    planned: "Plan",
    bounds: "Bounds",
    prompts: "dict[str, Prompts]",
    args: argparse.Namespace,
    stopped: asyncio.Event,
) -> "Run":
    from sim.sending.play import play

    def write(send: "Send") -> "Callable[[], Any]":
        model = args.model or send.asked.model
        text = prompts[model].text(send.number, send.asked)
        body = endpoint.body(model, text, send.asked.output_tokens)

        async def ask() -> "Answered":
            return await endpoint.ask(session, body, bounds.timeout_s)

        return ask

    with progress_bar() as progress:
        bar = progress.add_task("sending", total=len(planned.sends))

        def show(ended: int, in_flight: int) -> None:
            progress.update(bar, completed=ended, description=f"{in_flight} in flight")

        return await play(planned, write, max_in_flight=bounds.max_in_flight, stopped=stopped, progress=show)


def _setting(
    args: argparse.Namespace, endpoint: Endpoint, bounds: "Bounds", salt: str, sizes: "dict[str, Sizing]"
) -> "Setting":
    from sim.sending.report import Setting
    from sim.virtual.metrics import CHAT

    return Setting(
        url=endpoint.url,
        api=endpoint.api,
        rate=args.rate[0] if args.rate else 1.0,
        bounds=bounds,
        salt=salt,
        sizes=sizes,
        slo=args.slo or CHAT,
    )


def _print(args: argparse.Namespace, trace: "Trace", setting: "Setting", run: "Run") -> None:
    from sim.sending.report import as_json, lines, table, target
    from sim.traces.summary import lines as trace_lines
    from sim.traces.summary import summarise

    # What was cut off is not what these numbers are of.
    head = summarise(trace.cut(len(run.plan.sends)))
    if args.output == "json":
        print(json.dumps(as_json(head, setting, run), indent=1))
        return
    from control_plane.cli.console import report_console

    console = report_console()
    for line in (*trace_lines(head), *target(setting), *lines(run)):
        console.print(line)
    console.print()
    console.print(table(run, setting.slo))
