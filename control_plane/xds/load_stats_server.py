"""The LRS server, beside ADS on the same port: asks Envoys for load reports while somebody wants them.

    service = LoadStatsService(messages, clock, told=lanes.take)
    server = XdsServer(..., load_stats=service)
    service.want({"pool/chat"}, 12)     # so many endpoints; nothing is asked of anybody before; an empty set ends it

An Envoy whose bootstrap has no `load_stats_config` never comes, and nothing else depends on it. Reports are advisory:
what is garbled ends its stream, what is not believed is dropped, and Envoy comes back by itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Set
from typing import Any, Final

import grpc

from control_plane.xds.admission import Hosts
from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.load_stats import LEAST_INTERVAL_S, EndpointWork, LoadStatsWire, Reporter, interval_s
from control_plane.xds.stream import address_of, host_of
from protos.messages import Messages

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"

MAX_REPORTERS: Final = 4_096
"""Streams at a time, as many as of ADS: each Envoy has one of both."""

STRANGER_S: Final = 30.0
"""So long reports of an Envoy may come that has no discovery stream here. Its other stream may only be on its way, or
be at another replica by now; then this one is ended, and comes back where the other is."""

PAUSE_S: Final = 0.1
"""Between two reports of one stream that are read: who sends more of them waits, and does not take the time of the
others."""

AT_ONCE: Final = 500
"""Endpoints of a report that are told without a break: 1 to 2 ms, in which nobody else is served."""

Work = tuple[EndpointWork, ...]

_log = logging.getLogger(__name__)


class _Stream:
    """Mutable: who it is, what it was asked for, and whether its handler is to end."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.node: str | None = None
        self.asked: tuple[Set[str], int] | None = None
        self.is_ended = False

    def end(self) -> None:
        self.is_ended = True
        self.changed.set()


class LoadStatsService:
    """Mutable: the open streams, what is wanted, and two counters; on one event loop."""

    def __init__(
        self,
        messages: Messages,
        clock: Callable[[], float],
        *,
        told: Callable[[Work], None] = lambda work: None,
        is_known: Callable[[str, str], bool] = lambda node, host: True,
    ) -> None:
        """`clock` gives monotonic seconds. `told` gets what Envoys have reported and must not raise; `is_known` says
        whether an Envoy of this id at this host is served here: others are not believed."""
        self._wire = LoadStatsWire(messages)
        self._clock = clock
        self._hosts = Hosts()
        self._streams: set[_Stream] = set()
        self._clusters: frozenset[str] = frozenset()
        self._endpoints = 0
        self._interval_s = LEAST_INTERVAL_S
        self.told = told
        self.is_known = is_known
        self.reports = 0
        """How many were taken."""
        self.ignored = 0
        """How many were not believed, or not asked for."""

    @property
    def reporters(self) -> int:
        """How many Envoys have a stream."""
        return len(self._streams)

    def want(self, clusters: Set[str], endpoints: int) -> None:
        """Asks all Envoys, also those that come later, for reports of these clusters, which have so many endpoints
        together; of none: nobody is asked."""
        self._endpoints = endpoints
        if clusters != self._clusters:
            self._clusters = frozenset(clusters)
            self._tell_all()
        self._pace()

    def handler(self) -> grpc.GenericRpcHandler:
        """To be added to a `grpc.aio` server."""
        # No serialisers: bytes go through as they are.
        methods = {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(self._serve)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def stop(self) -> None:
        """Ends all streams."""
        for stream in self._streams:
            stream.end()

    def _pace(self) -> None:
        """The more there is to read, the less often it is told."""
        interval = interval_s(len(self._streams), self._endpoints, self._interval_s)
        if interval != self._interval_s:
            self._interval_s = interval
            self._tell_all()

    def _tell_all(self) -> None:
        for stream in self._streams:
            stream.changed.set()

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        host = host_of(address_of(context.peer()))
        if len(self._streams) >= MAX_REPORTERS or not self._hosts.enter(host):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams, here or from this host")
        stream = _Stream()
        self._streams.add(stream)
        self._pace()
        reading = asyncio.create_task(self._read(stream, host, requests), name=f"load reports of {host}")
        try:
            await self._write(stream, context)
        finally:
            # Without an await up to here: gRPC may cancel a handler a second time while it cleans up.
            reading.cancel()
            self._leave(stream, host)
            [outcome] = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(outcome, RefusedRequestError):
            await context.abort(grpc.StatusCode[outcome.code], str(outcome))
        if isinstance(outcome, Exception) and not isinstance(outcome, grpc.RpcError | grpc.aio.UsageError):
            _log.error("load reports of %s cannot be handled", host, exc_info=outcome)

    def _leave(self, stream: _Stream, host: str) -> None:
        self._streams.discard(stream)
        self._hosts.leave(host)
        self._pace()

    async def _write(self, stream: _Stream, context: Any) -> None:
        """Says what is wanted, as often as that changes, to who has said who it is; who was asked and is not wanted any
        more is let go."""
        while not stream.is_ended:
            wanted = self._clusters, self._interval_s
            if not self._clusters and stream.asked is not None:
                return
            if self._clusters and stream.node is not None and wanted != stream.asked:
                stream.asked = wanted
                await context.write(self._wire.answer(*wanted))
                continue
            stream.changed.clear()
            await stream.changed.wait()

    async def _read(self, stream: _Stream, host: str, requests: AsyncIterator[bytes]) -> None:
        reporter, known_at = Reporter(), self._clock()
        try:
            async for data in requests:
                now, report = self._clock(), self._wire.read(data)
                if stream.node is None:
                    stream.node = report.node
                    stream.changed.set()
                    continue
                if stream.asked is not None and self.is_known(stream.node, host):
                    known_at = now
                    await self._take(reporter.take(report, now))
                else:
                    self.ignored += 1
                    if stream.asked is not None and now - known_at > STRANGER_S:
                        return
                await asyncio.sleep(PAUSE_S)
        finally:
            stream.end()

    async def _take(self, work: Work) -> None:
        self.reports += 1
        for begin in range(0, len(work), AT_ONCE):
            await asyncio.sleep(0)
            self.told(work[begin : begin + AT_ONCE])
