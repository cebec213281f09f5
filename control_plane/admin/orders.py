"""Who may give orders at the admin port: programs, and pages that the port itself has served.

The port has no authentication and listens on loopback, which every web page that the operator looks at can reach by
their browser. A browser says where a page is from (`Origin`, Fetch standard, "Origin header"), and no page can keep it
from that; so an order from another origin is refused. So is one from an origin with a name: whoever owns a name can
let it mean 127.0.0.1 (DNS rebinding).
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

_READING = ("GET", "HEAD")


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 for an order that a page of another origin has given."""
    if request.method not in _READING and is_foreign(request.headers.get("Origin"), request.headers.get("Host", "")):
        raise web.HTTPForbidden(text="orders are not taken from web pages of other origins\n")
    return await handler(request)


def is_foreign(origin: str | None, host: str) -> bool:
    """Whether a request comes from a page that is not served here; programs say nothing of that."""
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        if (parts.hostname or "") != "localhost":
            ip_address(parts.hostname or "")
    except ValueError:
        return True
    return parts.netloc.lower() != host.lower()
