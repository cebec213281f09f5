"""`kvpilot probe --gpu`: what an exporter tells of GPUs, and by which labels a policy finds them."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ext_proc.core.gpus import Gpu
    from ext_proc.signals.gpu_pages import Row
    from ext_proc.signals.probe import Asked

_FEW = 12
"""Labels of a GPU that are shown: dcgm-exporter has about as many, JSON may have any number."""

_FIELD = "DCGM_FI_"
"""How labels begin that are the same for a whole node, such as the driver's version."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `probe` takes beside its own."""
    parser.add_argument("--gpu", action="store_true", help="the page is a GPU exporter's, as in a policy's health.gpu")
    parser.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="with --gpu: only GPUs with this label, as in health.gpu.match; repeatable",
    )


def run(args: argparse.Namespace, asked: "Callable[[], Asked]", body: Callable[[str], bytes], timeout_s: float) -> int:
    """Prints what was found; 1 when no GPU is told of. `asked` and `body` are those of `probe`."""
    import asyncio

    from ext_proc.signals.fetch import PageError
    from ext_proc.signals.gpu_pages import matching, read

    try:
        page = asyncio.run(_fetched(args.source, asked(), timeout_s)) if _is_url(args.source) else body(args.source)
        match = [_pair(words) for words in args.match]
        rows = [row for row in read(page) if matching([row], match)]
    except (ValueError, OSError, PageError) as error:
        print(f"kvpilot probe: {args.source}: {error}", file=sys.stderr)
        return 1
    if not rows:
        print(f"kvpilot probe: {args.source}: no GPU there matches {', '.join(args.match)}", file=sys.stderr)
        return 1
    if args.output == "json":
        gpus = [{**_told(row.gpu), "labels": dict(row.labels)} for row in rows]
        print(json.dumps({"source": args.source, "gpus": gpus}, indent=2, ensure_ascii=False))
    else:
        _show(args.source, rows)
    return 0


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _pair(words: str) -> tuple[str, str]:
    name, equals, value = words.partition("=")
    if not equals:
        raise ValueError(f"{words!r} is not LABEL=VALUE, such as pod=llama-0")
    return name, value


async def _fetched(url: str, asked: "Asked", timeout_s: float) -> bytes:
    from ext_proc.signals.fetch import PageClient

    client = PageClient(timeout_s=timeout_s)
    try:
        return await client.get(url, tls=asked.tls if url.startswith("https:") else None, token=asked.token)
    finally:
        await client.close()


def _told(gpu: "Gpu") -> dict[str, Any]:
    from dataclasses import asdict

    from control_plane.policy.gpu_health import FATAL_XIDS

    errors = {gpu.xid, *gpu.recent_xids} - {0}
    return {**asdict(gpu), "is_fatal": bool(gpu.fault) or not errors.isdisjoint(FATAL_XIDS)}


def _show(source: str, rows: "list[Row]") -> None:
    from control_plane.cli.console import ReportConsole

    console = ReportConsole(highlight=False, soft_wrap=True)
    console.print(f"{source}: {len(rows)} GPU{'s' if len(rows) > 1 else ''}", markup=False)
    for row in rows:
        style = "bold red" if _told(row.gpu)["is_fatal"] else None
        console.print(f"{row.gpu.name}: {', '.join(_numbers(row.gpu))}", style=style, markup=False)
        labels = [f"{name}={value}" for name, value in row.labels.items() if value and not name.startswith(_FIELD)]
        console.print(f"  {', '.join(labels[:_FEW])}", style="dim", markup=False)


def _numbers(gpu: "Gpu") -> Iterator[str]:
    yield _error(gpu)
    for value, form in (
        (gpu.temperature, "{:.0f} °C"),
        (gpu.memory_temperature, "memory {:.0f} °C"),
        (gpu.memory_usage, "{:.0%} of its memory"),
        (gpu.utilization, "{:.0%} of its time"),
    ):
        if value is not None:
            yield form.format(value)


def _error(gpu: "Gpu") -> str:
    found = [f"XID {xid}" for xid in dict.fromkeys((gpu.xid, *gpu.recent_xids)) if xid]
    found += [f"{gpu.memory_errors} memory errors"] if gpu.memory_errors else []
    found += ["no spare rows"] if gpu.is_worn else []
    found += [gpu.fault] if gpu.fault else []
    return ", ".join(found) or "no error"
