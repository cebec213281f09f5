"""What a pod's engine tells of its prefix cache, as routers are told it.

Pure. Engines of a replay keep their memory in the trace's blocks, so these events are in them; a router that counts in
other blocks translates them (`sim.virtual.ids.Chains`).
"""

from ext_proc.core import events as told
from sim.events import CacheEvent, Stored
from sim.virtual.pod import Pod


def cache_events(pod: Pod) -> list[told.CacheEvent]:
    """The changes since the last time, in order, after `pod.advance`."""
    return [_told(pod.address, event) for event in pod.take_cache_events()]


def _told(address: str, event: CacheEvent) -> told.CacheEvent:
    if isinstance(event, Stored):
        return told.BlocksStored(address=address, at=event.at, blocks=event.blocks, parent=event.parent)
    return told.BlocksRemoved(address=address, at=event.at, blocks=event.blocks)
