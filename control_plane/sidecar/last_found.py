"""What discovery found last, kept for a restart: a name server that is down then must not empty anybody's pools.

    kept = LastFound(state_dir / "endpoints.json")
    sources = FleetSources(..., remembered=kept.load())
    await kept.follow(lambda: sources.found)        # until cancelled
    kept.save(sources.found)                        # the last time

It is used for a source until that source has answered itself, as if it had found it just before it failed.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from control_plane.fleet.merge import Found, SourceKey
from control_plane.fleet.targets import Target
from control_plane.sidecar import kept_files

log = logging.getLogger("kvpilot")

LOOK_EVERY_S = 1.0
"""How soon what was found is written if it has changed; a look costs a comparison of references."""

REST_LOOKS = 10
"""Looks from one writing to the next: it may change fifty times a second, and it is only a stand-in for an answer that
is missing."""


class LastFound:
    """Mutable: what was written last; `load` and `save` write it."""

    def __init__(self, path: Path | None) -> None:
        """None: nothing is kept."""
        self._path = path
        self._written: Mapping[SourceKey, tuple[Target, ...]] = {}
        self._file = None if path is None else kept_files.KeptFile(path, "what discovery found")

    def load(self) -> Found:
        """What an earlier process found. Never raises: what is not as expected counts as nothing."""
        value = kept_files.read(self._path) if self._path is not None else None
        try:
            self._written = {tuple(key): tuple(_target(one) for one in targets) for key, targets in value or ()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("%s: not as expected (%s)", self._path, error)
        return self._written

    async def follow(self, found: Callable[[], Found | None]) -> None:
        """Writes what there is whenever it has changed, until cancelled; None stands for nothing new."""
        looks = REST_LOOKS
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            now = found() if looks >= REST_LOOKS else None
            if now is not None and now != self._written:
                await asyncio.to_thread(self.save, now)
                looks = 0

    def save(self, found: Found | None) -> None:
        """Writes it, if it is not what was written last. Blocks; never raises, and complains once."""
        if self._file is None or found is None or found == self._written:
            return
        value = [[list(key), [asdict(target) for target in targets]] for key, targets in sorted(found.items())]
        if self._file.write(kept_files.encoded(value)):
            self._written = found


def _target(value: Mapping[str, Any]) -> Target:
    return Target(
        address=str(value["address"]),
        region=str(value["region"]),
        zone=str(value["zone"]),
        weight=None if value["weight"] is None else int(value["weight"]),
        labels={str(key): str(text) for key, text in value["labels"].items()},
        draining=value.get("draining", False) is True,  # older files do not say
    )
