"""One look at one engine, or at a page of it that somebody saved, with all that can be said about it.

    probe = await probe_url("http://10.0.0.1:8000", client)
    probe = probe_page("metrics.txt", Path("metrics.txt").read_bytes())

What `kvpilot probe` shows. The engine is recognised by whom it calls the owner of its models (`/v1/models`), and a page
by the names on it; nothing is asked for whose reading has effects, unless it was asked for by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from ext_proc.signals.engines.adapter import Adapter, Page, Read
from ext_proc.signals.engines.custom import CUSTOM, custom_reader
from ext_proc.signals.engines.json_pages import json_of
from ext_proc.signals.engines.table import ADAPTERS, adapter_of, reader_of, recognised
from ext_proc.signals.fetch import PageClient, PageError, PageMissingError
from ext_proc.signals.numbers import FIELDS, Scrape, merged
from ext_proc.signals.pod_tls import PodTls

MEANS: Final[Mapping[str, str]] = {
    "running": "the picker counts its own requests only; what others send is not seen",
    "waiting": "the picker counts its own requests only; what others send is not seen",
    "waiting_tokens": "a queue of others is counted in requests, however long their prompts are",
    "max_running": "how many requests fit into a batch is not known",
    "kv_usage": "how full its memory is follows from the picker's own requests only",
    "block_size": "a prefix is compared in blocks of the picker's own size",
    "kv_tokens": "how much its cache holds is assumed",
    "prefix_queries": "predicted hits cannot be compared with its own count",
    "prefix_hits": "predicted hits cannot be compared with its own count",
    "prefix_hit_rate": "whether its cache helps shows in answers only",
    "preemptions": "that it runs out of memory shows in answers only",
    "prompt_tokens": "what others send is counted in requests only",
    "generation_tokens": "that it stands still shows in answers only",
    "max_loras": "how many adapters fit into a batch is not known",
    "running_loras": "which adapters are in its memory is not known",
    "waiting_loras": "which adapters it waits for is not known",
    "is_asleep": "that it sleeps shows in answers only",
}
"""Number → what it means for picks that it is not told."""

_MODELS: Final = "/v1/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSeen:
    """One page that was asked for: how many bytes came, or in words what came instead."""

    place: str
    size: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found. `adapter` is None where nobody knows whose page it is; `known_by` says how it is known."""

    source: str
    adapter: Adapter | None
    known_by: str
    pages: tuple[PageSeen, ...]
    scrape: Scrape

    @property
    def missing(self) -> dict[str, tuple[str, str]]:
        """Number that is not told → why, and what follows from it."""
        if self.adapter is None:
            return {}
        told, words = set(self.scrape.values()), self.adapter.missing
        if "prefix_hits" in told:
            told.add("prefix_hit_rate")  # it follows
        return {name: (words.get(name, "not on the page"), MEANS[name]) for name in FIELDS if name not in told}


def probe_page(source: str, body: bytes, engine: str = "", metrics: Mapping[str, str] | None = None) -> Probe:
    """A look at a page that was saved; raises ValueError for an engine or metrics that nobody knows."""
    adapter = _named(engine, metrics)
    found, known_by = (adapter, _reader(adapter, body, metrics)), "as was said"
    if adapter is None:
        found, known_by = recognised(body) or (None, None), "by the names on the page"
    adapter, read = found
    scrape = read(body) if read else Scrape()
    return Probe(
        source=source,
        adapter=adapter,
        known_by=known_by if adapter else "",
        pages=(PageSeen(place=source, size=len(body)),),
        scrape=scrape,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How an engine is asked: what it is said to be, the names of a custom one's metrics, TLS and token."""

    engine: str = ""
    metrics: Mapping[str, str] | None = None
    tls: PodTls | None = None
    token: str = ""


async def probe_url(url: str, client: PageClient, asked: Asked | None = None) -> Probe:
    """A look at a running engine: at all of its pages, or at the one that the URL names.

    Raises ValueError for a URL that is none, and for an engine or metrics that nobody knows.
    """
    asked = asked or Asked()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL such as http://10.0.0.1:8000")
    base = f"{parts.scheme}://{parts.netloc}"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    adapter = _named(asked.engine, asked.metrics)
    if path.strip("/"):
        return await _one_page(base, path, client, asked)
    known_by = "as was said"
    if adapter is None:
        adapter = await _owner(base, client, asked)
        known_by = f"by the owner of its models ({_MODELS})"
    if adapter is None:
        return await _one_page(base, "/metrics", client, asked, source=url)
    if adapter.port is not None:
        base = f"{parts.scheme}://{_bracketed(parts.hostname)}:{adapter.port}"
    scrape, seen = Scrape(), []
    for page in adapter.pages:
        found, one = await _look(base, page, client, asked)
        scrape = merged(scrape, found)
        seen.append(one)
    return Probe(source=url, adapter=adapter, known_by=known_by, pages=tuple(seen), scrape=scrape)


async def _one_page(base: str, path: str, client: PageClient, asked: Asked, source: str = "") -> Probe:
    place = base + path
    try:
        body = await client.get(place, tls=asked.tls, token=asked.token)
    except PageError as error:
        seen = PageSeen(place=place, error=str(error))
        return Probe(source=source or place, adapter=None, known_by="", pages=(seen,), scrape=Scrape())
    return replace(
        probe_page(source or place, body, asked.engine, asked.metrics), pages=(PageSeen(place=place, size=len(body)),)
    )


async def _look(base: str, page: Page, client: PageClient, asked: Asked) -> tuple[Scrape, PageSeen]:
    place = base + page.path
    try:
        body = await client.get(place, tls=asked.tls, token=asked.token)
    except PageMissingError as error:
        needs = f"; it needs {page.needs}" if page.needs else ""
        return Scrape(), PageSeen(place=place, error=f"{error}{needs}")
    except PageError as error:
        return Scrape(), PageSeen(place=place, error=str(error))
    return page.read(body), PageSeen(place=place, size=len(body))


async def _owner(base: str, client: PageClient, asked: Asked) -> Adapter | None:
    try:
        answer = json_of(await client.get(base + _MODELS, tls=asked.tls, token=asked.token))
    except PageError:
        return None
    models = answer.get("data") if isinstance(answer, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    owner = first.get("owned_by") if isinstance(first, dict) else None
    return next((adapter for adapter in ADAPTERS.values() if adapter.owner and adapter.owner == owner), None)


def _named(engine: str, metrics: Mapping[str, str] | None) -> Adapter | None:
    """The adapter of an engine that was named; None where none was."""
    if not engine:
        if metrics:
            raise ValueError("names of metrics are for a custom engine")
        return None
    if engine != CUSTOM and metrics:
        raise ValueError(f"the metrics of {engine} are known; names are for a custom engine")
    adapter = adapter_of(engine, metrics)
    if adapter is None:
        needs = "a custom engine needs the names of its metrics"
        raise ValueError(needs if engine == CUSTOM else f"{engine!r} is no engine that is known")
    return adapter


def _reader(adapter: Adapter | None, body: bytes, metrics: Mapping[str, str] | None) -> Read | None:
    """How a page of a named engine is read: as the one of its pages that it is, else as its page of metrics."""
    if adapter is None:
        return None
    if adapter.engine == CUSTOM:
        return custom_reader(metrics or {})
    found = recognised(body)
    return found[1] if found and found[0] is adapter else reader_of(adapter, adapter.metrics_path)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
