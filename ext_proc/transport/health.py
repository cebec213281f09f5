"""The state behind `grpc.health.v1`: which services serve. Envoy and Kubernetes ask, watchers are told of changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from ext_proc.wire_health import ServingStatus

LIVENESS: Final = "liveness"
"""The process lives; true until it ends, also while it refuses new work."""
SERVICES: Final = ("", LIVENESS, "readiness", "envoy.service.ext_proc.v3.ExternalProcessor")
"""The server as a whole, what Kubernetes asks of an endpoint picker, and what Envoy's health check names."""


class Health:
    """Mutable: whether we serve, and the event that wakes watchers. Single writer: `set_serving`."""

    def __init__(self) -> None:
        """Serves nothing yet."""
        self._is_serving = False
        self._changed = asyncio.Event()

    def set_serving(self, is_serving: bool) -> None:
        """From now on all services but liveness say this."""
        if is_serving != self._is_serving:
            self._is_serving = is_serving
            self._changed.set()
            self._changed = asyncio.Event()

    def check(self, service: str) -> ServingStatus:
        """The status of `service` (`SERVICE_UNKNOWN` where there is none of that name)."""
        if service not in SERVICES:
            return ServingStatus.SERVICE_UNKNOWN
        if self._is_serving or service == LIVENESS:
            return ServingStatus.SERVING
        return ServingStatus.NOT_SERVING

    async def watch(self, service: str) -> AsyncIterator[ServingStatus]:
        """The status of `service` now and after each change of it."""
        told: ServingStatus | None = None
        while True:
            changed = self._changed
            status = self.check(service)
            if status is not told:
                told = status
                yield status
            else:
                await changed.wait()
