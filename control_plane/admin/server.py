"""The admin HTTP server. No authentication: it binds to loopback by default. Its contract is in docs/operations.md."""

import os
from contextlib import suppress
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

from control_plane.admin import dashboard, drains, metrics, recordings, status
from control_plane.admin.orders import own_pages_only
from control_plane.policy.diagnostics import as_json
from control_plane.sidecar.edits import EditRefusedError, NoSuchVersionError
from ext_proc.core.address import SocketAddress, UnixAddress, parse_address
from ext_proc.transport.binding import bind_error, check_free

if TYPE_CHECKING:
    from control_plane.sidecar.sidecar import Sidecar

_T = TypeVar("_T")

DEFAULT_DECISIONS = 100
MAX_DECISIONS = 2048
"""As many as the picker keeps (`ext_proc.core.decision`): asking for more is answered with all there are."""
MAX_LIMIT_DIGITS = 9
"""Python refuses to read numbers of some thousand digits, and nobody means one."""
SHUTDOWN_S = 0.2
"""A scrape in flight may end; nobody waits longer for it, as the whole sidecar stops within 3 s."""


class AdminServer:
    """Mutable: the running web server."""

    def __init__(self, sidecar: "Sidecar") -> None:
        """`sidecar` is read on every request."""
        self._sidecar = sidecar
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> str:
        """Binds `address` (`host:port` or `unix:/path`) and gives the bound one; raises `BindError`."""
        app = web.Application(middlewares=[own_pages_only])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/pages/{name}", self._page),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                web.get("/decisions", self._decisions),
                web.get("/decisions/{id}", self._decision),
                web.get("/record", self._record),
                web.post("/reload", self._reload),
                web.post("/rollback", self._rollback),
                web.get("/drains", self._drains),
                web.post("/drain", self._drain),
                web.post("/undrain", self._undrain),
                web.post("/notify", self._notify),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        parsed = parse_address(address)
        if isinstance(parsed, UnixAddress):
            check_free(parsed)  # asyncio would take the socket away from whoever serves it
            site: web.BaseSite = web.UnixSite(self._runner, parsed.path)
        else:
            site = web.TCPSite(self._runner, parsed.host, parsed.port)
        try:
            await site.start()
        except OSError as error:
            raise bind_error(parsed, error) from error
        if isinstance(parsed, UnixAddress):
            return address
        return str(SocketAddress(*self._runner.addresses[0][:2]))

    async def stop(self) -> None:
        """Closes the server."""
        if self._runner is not None:
            paths = [path for path in self._runner.addresses if isinstance(path, str)]
            await self._runner.cleanup()
            for path in paths:  # asyncio leaves the sockets' files behind
                with suppress(FileNotFoundError):
                    os.unlink(path)

    async def _index(self, request: web.Request) -> web.Response:
        return dashboard.index(request)

    async def _page(self, request: web.Request) -> web.Response:
        return dashboard.page(request)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        waiting = status.not_ready(self._sidecar)
        return web.Response(status=503 if waiting else 200, text="\n".join(waiting or ["ready"]) + "\n")

    async def _status(self, request: web.Request) -> web.Response:
        return _json(status.status(self._sidecar))

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = metrics.render(self._sidecar)
        return web.Response(body=body, headers={"content-type": content_type})

    async def _decisions(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(DEFAULT_DECISIONS))
        if not text.isascii() or not text.isdigit() or len(text) > MAX_LIMIT_DIGITS or int(text) < 1:
            return _error(400, f"limit must be a number from 1 to {MAX_DECISIONS}, not {text[:20]!r}")
        picker = self._sidecar.picker
        return _json({"decisions": picker.decisions(min(int(text), MAX_DECISIONS)) if picker else []})

    async def _decision(self, request: web.Request) -> web.Response:
        picker = self._sidecar.picker
        found = picker.decision(request.match_info["id"]) if picker else None
        if found is None:
            return _error(
                404, "no such decision: the id is wrong, or it has left the bounded record of the latest ones"
            )
        return _json(found)

    async def _record(self, request: web.Request) -> web.StreamResponse:
        if self._sidecar.picker is None:
            return _error(503, "this kvpilot has no picker (`--roles`)")
        name = f"recorded-{strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(self._sidecar.wall_clock()))}"
        try:
            return await recordings.serve(request, self._sidecar.picker.recordings, name)
        except recordings.RefusedError as error:
            return _error(error.status, str(error))

    async def _reload(self, request: web.Request) -> web.Response:
        force = await _order(request, "force", bool, False)
        edits = self._sidecar.edits
        if edits is None:
            return _error(503, "the start is not over")
        try:
            await edits.reload(force=force)
        except EditRefusedError as error:
            return self._refused(error)
        return _json({"version": self._sidecar.state.version, "state": self._sidecar.state.state})

    async def _rollback(self, request: web.Request) -> web.Response:
        version = await _order(request, "version", str, "")
        edits = self._sidecar.edits
        if edits is None:
            return _error(503, "the start is not over")
        try:
            return _json({"version": await edits.rollback(version)})
        except NoSuchVersionError as error:
            return _json({"error": str(error)}, 404)
        except EditRefusedError as error:
            return self._refused(error)

    async def _drains(self, request: web.Request) -> web.Response:
        return drains.listed(self._sidecar.drains)

    async def _drain(self, request: web.Request) -> web.Response:
        return await drains.drain(request, self._sidecar.drains)

    async def _undrain(self, request: web.Request) -> web.Response:
        return await drains.undrain(request, self._sidecar.drains)

    async def _notify(self, request: web.Request) -> web.Response:
        notices = self._sidecar.notices
        if notices is None:
            return _error(503, "the start is not over")
        return _json({"webhooks": await notices.test()})

    def _refused(self, error: EditRefusedError) -> web.Response:
        diagnostics = [as_json(diagnostic) for diagnostic in self._sidecar.state.diagnostics]
        return _json({"error": str(error), "diagnostics": diagnostics}, 409)


def _json(value: object, code: int = 200) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode(value), content_type="application/json")


async def _order(request: web.Request, key: str, kind: type[_T], default: _T) -> _T:
    """The one field of an order's JSON body; raises 400 for anything else than such a body, or none."""
    body = await request.read()
    try:
        value = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (ValueError, RecursionError) as error:  # a ValueError, too, is text that is not UTF-8
        raise web.HTTPBadRequest(text=f"not a JSON object: {error}\n") from error
    found = value.pop(key, default)
    if value or not isinstance(found, kind):
        raise web.HTTPBadRequest(text=f"the body is {{}} or has `{key}`, of type {kind.__name__}\n")
    return found


def _error(code: int, message: str) -> web.Response:
    return web.Response(
        status=code, body=msgspec.json.encode({"error": {"message": message}}), content_type="application/json"
    )
