"""Where engines tell what their prefix caches hold."""

from control_plane.policy.addresses import ListenAddress
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import Integer, Text
from ext_proc.core.address import MAX_PORT, SocketAddress
from ext_proc.core.settings import MAX_KV_RANKS

_TOPIC = Text("the beginning of a topic, such as `kv@`", "[!-~]{1,256}", 256)


@block()
class KvEvents(Block):
    """Events over ZMQ, as vLLM (`--kv-events-config`) and SGLang publish them. `docs/kv_events.md` says what for.

    Engines are connected to at `port`, or connect to `bind`.
    """

    port: int | None = setting(
        Integer(1, MAX_PORT),
        default=None,
        absent=(None, "5557, unless `portOffset` or `bind` is given"),
        doc="Port at each endpoint's address at which its engine publishes; the first one of data-parallel ranks.",
    )
    port_offset: int | None = setting(
        Integer(-MAX_PORT, MAX_PORT),
        default=None,
        absent=(None, "`port` counts"),
        doc="In the place of `port`, where several engines have one address: the distance from the endpoint's port.",
    )
    replay_port: int | None = setting(
        Integer(1, MAX_PORT),
        default=None,
        absent=(None, "nothing is replayed: lost messages clear what is known of an endpoint"),
        doc="Port at which missed messages are asked for (vLLM: `replay_endpoint`).",
    )
    replay_port_offset: int | None = setting(
        Integer(-MAX_PORT, MAX_PORT),
        default=None,
        absent=(None, "`replayPort` counts"),
        doc="In the place of `replayPort`: the distance from the endpoint's port.",
    )
    data_parallel_size: int = setting(
        Integer(1, MAX_KV_RANKS),
        default=1,
        doc="Data-parallel ranks behind each endpoint; rank r is at `port` + r and `replayPort` + r.",
    )
    topic: str = setting(
        _TOPIC, default="", absent=("", "all topics"), doc="Only topics that begin with this are listened to."
    )
    bind: SocketAddress | None = setting(
        ListenAddress(),
        default=None,
        absent=(None, "engines are connected to"),
        doc="Where engines connect to, if they do (vLLM does when its `endpoint` names a host). Their topics say who "
        "they are: `kv@10.0.0.1:8000@model`, or `kv@10.0.0.1@model` where an address has one engine.",
    )
