"""Rules about events of prefix caches."""

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kv_events import KvEvents
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader
from ext_proc.core.address import MAX_PORT

TELLING = ("vllm", "sglang", "dynamo", "custom")
"""Dynamo's workers publish what their engines say; TensorRT-LLM gives its events by HTTP, the others have none."""

_OF_CONNECTING = ("port", "portOffset", "dataParallelSize")


def _one_port(events: KvEvents, path: str, reader: Reader) -> None:
    for name in ("port", "replayPort"):
        if {f"{path}.{name}", f"{path}.{name}Offset"} <= reader.marks.keys():
            message = f"`{name}Offset` beside `{name}`: both say where the port is"
            reader.report_at(f"{path}.{name}Offset", Code.EXCLUSIVE_KEYS, message, "keep one of them")


def _no_port_of_its_own(events: KvEvents, path: str, reader: Reader) -> None:
    """0 is the endpoint's own port, where it answers requests."""
    for name, offset in (("portOffset", events.port_offset), ("replayPortOffset", events.replay_port_offset)):
        if offset == 0:
            message = f"`{name}` 0 is the port of requests"
            reader.report_at(f"{path}.{name}", Code.OUT_OF_BOUNDS, message, "give the distance to another port")


def _nothing_to_connect_to(events: KvEvents, path: str, reader: Reader) -> None:
    if events.bind is not None:
        reader.report_idle(path, _OF_CONNECTING, "engines connect to `bind`: `{key}` does nothing")


def _engine_that_tells(pool: Pool, path: str, reader: Reader) -> None:
    if pool.kv_events is not None and pool.engine not in TELLING:
        message = f"{quoted(pool.engine)} publishes no such events: nothing will be heard"
        reader.report_at(f"{path}.kvEvents", Code.NO_EFFECT, message, "remove it")


def _ports_that_there_are(pool: Pool, path: str, reader: Reader) -> None:
    """Each rank has a port of its own, and where it is depends on the endpoint's; discovered ones are not known yet."""
    events = pool.kv_events
    if events is None:
        return
    last = MAX_PORT - (events.data_parallel_size - 1)
    own = [int(endpoint.address.rpartition(":")[2]) for endpoint in pool.static_endpoints]
    said = (
        ("port", [events.port]),
        ("replayPort", [events.replay_port]),
        ("portOffset", [each + (events.port_offset or 0) for each in own]),
        ("replayPortOffset", [each + (events.replay_port_offset or 0) for each in own]),
    )
    for name, ports in said:
        where = f"{path}.kvEvents.{name}"
        wrong = [port for port in ports if port is not None and not 1 <= port <= last]
        if where in reader.marks and wrong:
            message = f"port {wrong[0]} is not in 1..{last}, which leaves one for each data-parallel rank"
            if last == MAX_PORT:
                message = f"port {wrong[0]} is not in 1..{last}"
            reader.report_at(where, Code.OUT_OF_BOUNDS, message)


KV_EVENT_RULES: dict[type, tuple[BlockRule, ...]] = {
    Pool: (_engine_that_tells, _ports_that_there_are),
    KvEvents: (_one_port, _no_port_of_its_own, _nothing_to_connect_to),
}
