"""`kvpilot probe URL|FILE`: what the picker sees of an engine, and what it does not."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from control_plane.cli import probe_gpus

if TYPE_CHECKING:
    from ext_proc.signals.probe import Asked, Probe

NAME = "probe"
HELP = "what the picker reads from an engine, or from a page of it that was saved; what is missing, and what that means"

OUTPUTS = ("text", "json")

ENGINES = ("vllm", "sglang", "trtllm", "triton", "llamacpp", "tgi", "lmdeploy", "dynamo", "custom")
"""Those of a policy, which takes too long to load for a list of verbs."""

DEFAULT_TIMEOUT_S = 5.0
"""More patience than the picker has: a person wants to see the page all the same."""

PLAIN_WIDTH = 200
"""Columns when no terminal says how many it has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which engine, and how it is asked."""
    parser.add_argument(
        "source",
        metavar="URL|FILE",
        help="http://HOST:PORT of an engine, the URL of one of its pages, or a file with the body of one; - is stdin",
    )
    parser.add_argument("--engine", choices=ENGINES, default="", help="what it is (default: it is recognised)")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        dest="metrics",
        metavar="NUMBER=METRIC",
        help="with --engine custom: the metric for a number, as in a policy's scrape.metrics; repeatable",
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with the bearer token that the engine wants")
    parser.add_argument("--insecure", action="store_true", help="with https: take any certificate")
    probe_gpus.add_arguments(parser)
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the report (default: text)")


def run(args: argparse.Namespace) -> int:
    """Prints what was found; 1 unless the load is told."""
    import asyncio

    if args.gpu:
        return probe_gpus.run(args, lambda: _asked(args), _body, DEFAULT_TIMEOUT_S)
    try:
        found = asyncio.run(_probe(args))
    except (ValueError, OSError) as error:
        print(f"kvpilot probe: {error}", file=sys.stderr)
        return 1
    if args.output == "json":
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        _show(found)
    return 0 if found.scrape.tells_load else 1


def as_json(found: "Probe") -> dict[str, Any]:
    """The report as JSON values."""
    told, sources = found.scrape.values(), found.scrape.sources
    return {
        "source": found.source,
        "engine": found.adapter.engine if found.adapter else None,
        "known_by": found.known_by,
        "pages": [{"place": page.place, "bytes": page.size, "error": page.error} for page in found.pages],
        "numbers": {name: {"value": value, "from": sources.get(name, "")} for name, value in told.items()},
        "missing": {name: {"why": why, "means": means} for name, (why, means) in found.missing.items()},
        "tells_load": found.scrape.tells_load,
    }


async def _probe(args: argparse.Namespace) -> "Probe":
    from ext_proc.signals.fetch import PageClient
    from ext_proc.signals.probe import probe_page, probe_url

    asked = _asked(args)
    if not args.source.startswith(("http://", "https://")):
        return probe_page(args.source, _body(args.source), asked.engine, asked.metrics)
    client = PageClient(timeout_s=DEFAULT_TIMEOUT_S)
    try:
        return await probe_url(args.source, client, asked)
    finally:
        await client.close()


def _asked(args: argparse.Namespace) -> "Asked":
    import ssl

    from control_plane.sidecar.certificate_checks import token_in
    from ext_proc.signals.pod_tls import PodTls
    from ext_proc.signals.probe import Asked

    context = ssl.create_default_context()
    if args.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    token = ""
    if args.token_file:
        with open(args.token_file, "rb") as stream:
            token = token_in(stream.read(MAX_TOKEN_FILE_BYTES))
        if not token:
            raise ValueError(f"{args.token_file}: there is no token in it")
    return Asked(engine=args.engine, metrics=_metrics(args.metrics) or None, tls=PodTls(context=context), token=token)


MAX_TOKEN_FILE_BYTES = 64 * 1024
"""Enough to see that a file holds no token."""


def _metrics(words: list[str]) -> dict[str, str]:
    metrics = {}
    for word in words:
        name, equals, metric = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not NUMBER=METRIC, such as running=app_active")
        metrics[_snake(name)] = metric
    return metrics


def _snake(name: str) -> str:
    """The name of a number, also as a policy writes it: `kvUsage`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _body(source: str) -> bytes:
    from ext_proc.signals.fetch import MAX_PAGE_BYTES

    if source == "-":
        body = sys.stdin.buffer.read(MAX_PAGE_BYTES + 1)
    else:
        try:
            with open(source, "rb") as stream:
                body = stream.read(MAX_PAGE_BYTES + 1)
        except OSError as error:
            url = f"; for an engine write http://{source}" if ":" in source else ""
            raise OSError(f"{source}: {error.strerror or error}{url}") from None
    if len(body) > MAX_PAGE_BYTES:
        raise ValueError(f"{source}: more than {MAX_PAGE_BYTES:,} bytes, which the picker would not take")
    return body


def _show(found: "Probe") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    console.print(_headline(found), markup=False)
    for page in found.pages:
        told = page.error or f"{page.size:,} bytes"
        console.print(f"  {page.place}: {told}", style="yellow" if page.error else None, markup=False)
    if numbers := found.scrape.values():
        table = Table("number", "value", "from", box=None, pad_edge=False)
        for name, value in numbers.items():
            # Names may have brackets, which rich would take for marks of its own.
            table.add_row(_words(name), Text(_text(value)), Text(found.scrape.sources.get(name, "")))
        console.print()
        console.print(table)
    if found.missing:
        table = Table("not told", "why", "what follows", box=None, pad_edge=False)
        for name, (why, means) in found.missing.items():
            table.add_row(_words(name), Text(why), means)
        console.print()
        console.print(table)
    if not found.scrape.tells_load:
        console.print()
        console.print(_no_load(found), style="bold red", markup=False)


def _headline(found: "Probe") -> str:
    if found.adapter is None:
        return found.source
    return f"{found.source}: {found.adapter.title} (engine: {found.adapter.engine}), known {found.known_by}"


def _no_load(found: "Probe") -> str:
    if all(page.error for page in found.pages):
        return "no page could be read: the picker would go on with its own account of this endpoint"
    if found.adapter is None:
        return "nobody knows this page: say --engine, or --engine custom with --metric running=… --metric waiting=…"
    untold = " and ".join(found.scrape.untold_load)
    return f"{untold} requests are not told: the picker would go on with its own account of this endpoint"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("kv ", "KV ").replace("loras", "LoRAs").removeprefix("is ")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
