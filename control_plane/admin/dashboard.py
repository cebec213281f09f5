"""`/`: what there is at the admin port, as text for programs and as a page for browsers.

The page is in `pages/`, as it is: no build, nothing from other servers. Without scripts it is a list of links; with
them it shows `/status` and the latest decisions, and asks again every two seconds. It gives no orders.
"""

from html import escape
from pathlib import Path
from typing import Final

from aiohttp import web

_PATHS: Final = (
    ("/healthz", "the process lives"),
    ("/readyz", "traffic may come; else what is missing"),
    ("/status", "policy, Envoys, pools, endpoints (JSON)"),
    ("/decisions?limit=", "the latest picks, newest first (JSON)"),
    ("/decisions/ID", "one pick: candidates, terms, reason, outcome (JSON)"),
    ("/record", "picked requests as they come, without a word of them (NDJSON, kvpilot replay reads it)"),
    ("/reload", 'POST {"force": true}: reads the policy again'),
    ("/rollback", 'POST {"version": "…"}, or {} for the previous one'),
    ("/drains", "endpoints that get nothing new (JSON)"),
    ("/drain", 'POST {"endpoints": ["POOL/ADDRESS", …], "timeout": seconds, "force": true}'),
    ("/undrain", 'POST {"endpoints": ["POOL/ADDRESS", …]}'),
    ("/notify", "POST: a test notice to every webhook"),
    ("/metrics", "Prometheus"),
)
"""Path → what is there."""

INDEX: Final = "kvpilot\n" + "".join(f"{path:<17} {text}\n" for path, text in _PATHS)

_LINKED: Final = ("/healthz", "/readyz", "/status", "/decisions", "/drains", "/metrics")
"""What a browser can show: neither orders nor what never ends."""

_LINKS: Final = "<!-- links -->"
_PAGES: Final = Path(__file__).parent / "pages"
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

_HEADERS: Final = {
    # Nothing but the three files and this port's own answers, and in nobody's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Another kvpilot may listen here next time.
    "cache-control": "no-cache",
}


def index(request: web.Request) -> web.Response:
    """The page for who takes HTML, which browsers say; the list for all others."""
    if "text/html" not in request.headers.get("accept", ""):
        return web.Response(text=INDEX, headers={"vary": "accept"})
    links = "\n".join(f'<li><a href="{escape(path)}">{escape(path)}</a></li>' for path in _LINKED)
    return _answer("index.html", _read("index.html").replace(_LINKS, links), {"vary": "accept"})


def page(request: web.Request) -> web.Response:
    """One of the files beside it."""
    name = request.match_info["name"]
    if name not in ("dashboard.js", "dashboard.css"):
        raise web.HTTPNotFound
    return _answer(name, _read(name), {})


def _read(name: str) -> str:
    return (_PAGES / name).read_text(encoding="utf-8")


def _answer(name: str, text: str, more: dict[str, str]) -> web.Response:
    return web.Response(text=text, content_type=_TYPES[Path(name).suffix], headers={**_HEADERS, **more})
