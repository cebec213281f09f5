"""`POST /drain`, `POST /undrain` and `GET /drains` (contract: docs/operations.md)."""

from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from control_plane.fleet.drains import DrainRefusedError
from control_plane.sidecar.drain_lane import DrainLane

MAX_WORDS = 1_000
"""Endpoints of one order, or patterns, each of which is compared to the whole fleet."""

MAX_WORD = 1_024
"""Characters of one: a pool's name and an address have fewer."""

MAX_TIMEOUT_S = 86_400.0
"""A day, as in the policy."""

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORD)]
_Words = Annotated[list[_Word], msgspec.Meta(min_length=1, max_length=MAX_WORDS)]


class DrainOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`endpoints` are `POOL/ADDRESS` or `POOL`; without a `timeout` in seconds the pool's policy says how long."""

    endpoints: _Words
    timeout: Annotated[float, msgspec.Meta(ge=0, le=MAX_TIMEOUT_S)] | None = None
    force: bool = False


class UndrainOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`endpoints` as in `DrainOrder`."""

    endpoints: _Words


_Order = TypeVar("_Order", DrainOrder, UndrainOrder)


async def drain(request: web.Request, lane: DrainLane | None) -> web.Response:
    """202 with a row for each endpoint; 409 where that is refused."""
    order = await _read(request, DrainOrder)
    if lane is None:
        return _json({"error": "the start is not over"}, 503)
    try:
        rows = await lane.drain(order.endpoints, order.timeout, force=order.force)
    except DrainRefusedError as error:
        return _json({"error": str(error)}, 409)
    warning = lane.warning([(row["pool"], row["address"]) for row in rows])
    return _json({"drains": rows, "warning": warning}, 202)


async def undrain(request: web.Request, lane: DrainLane | None) -> web.Response:
    """200 with the endpoints; 409 where that is refused."""
    order = await _read(request, UndrainOrder)
    if lane is None:
        return _json({"error": "the start is not over"}, 503)
    try:
        keys = await lane.undrain(order.endpoints)
    except DrainRefusedError as error:
        return _json({"error": str(error)}, 409)
    return _json({"endpoints": [{"pool": pool, "address": address} for pool, address in keys]})


def listed(lane: DrainLane | None) -> web.Response:
    """All drains."""
    return _json({"drains": lane.status() if lane else []})


async def _read(request: web.Request, kind: type[_Order]) -> _Order:
    """The order in a JSON body; raises 400 for anything else."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"no such order: {error}\n") from error


def _json(value: object, code: int = 200) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode(value), content_type="application/json")
