"""What adaptive weights have learned, kept for a restart: who was slow or failed does not get its whole share again.

kept = KeptWeights(state_dir / "weights.json", weights, time.monotonic, time.time)
kept.restore(policy)                                    # blocks; before the first fleet is served
await kept.follow()                                     # until cancelled
kept.save()                                             # the last time
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from control_plane.fleet.kept_weights import MAX_BYTES, as_json, kept_in
from control_plane.fleet.weights import Kept, Weights
from control_plane.policy.model import Policy
from control_plane.sidecar import kept_files
from control_plane.sidecar.weights_lane import rule_of

WRITE_EVERY_S: Final = 10.0
"""While anything is learned, changed or not: the older it is, the less it is believed. What ten seconds have taught is
learned again in ten."""


class KeptWeights:
    """Mutable: what was written last; on one event loop but for `restore` and `save`."""

    def __init__(
        self, path: Path | None, weights: Weights, clock: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        """`clock` is that of the weights' looks, `wall_clock` gives Unix time. No path: nothing is kept."""
        self._weights = weights
        self._clock = clock
        self._wall_clock = wall_clock
        self._written: tuple[Kept, ...] = ()
        self._file = None if path is None else kept_files.KeptFile(path, "weights")

    def restore(self, policy: Policy) -> None:
        """Puts back what an earlier process kept, for the pools that still learn. Blocks; never raises: what is not as
        expected counts as nothing."""
        if self._file is None:
            return
        kept = self._file.read(MAX_BYTES, lambda value: kept_in(value, self._wall_clock()))
        if kept is None:
            return
        self._written, away_s = kept
        rules = {pool.name: rule for pool in policy.pools if (rule := rule_of(pool)) is not None}
        self._weights.restore(self._written, rules, self._clock(), away_s)

    async def follow(self) -> None:
        """Writes what was learned, until cancelled."""
        while self._file is not None:
            await asyncio.sleep(WRITE_EVERY_S)
            kept = self._weights.kept()
            if kept or self._written:
                await asyncio.to_thread(self._write, kept)

    def save(self) -> None:
        """Writes what was learned. Blocks; never raises, and complains once."""
        kept = self._weights.kept()
        if self._file is not None and kept != self._written:
            self._write(kept)

    def _write(self, kept: tuple[Kept, ...]) -> None:
        assert self._file is not None, "looked at by the callers"
        if self._file.write(kept_files.encoded(as_json(kept, self._wall_clock()))):
            self._written = kept
