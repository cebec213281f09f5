"""Small policies and shortcuts for the compiler's tests."""

from typing import Any

from control_plane.compile import NEWEST_TESTED, Capabilities, Compiled, Node, Services, capabilities, compile_snapshot
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.fleet.model import Fleet, static_fleet
from control_plane.policy.model import Listener, Model, Policy, Pool, RouteTarget, StaticEndpoint
from ext_proc.core.address import SocketAddress

EVERYTHING = capabilities(Node(id="new", version=NEWEST_TESTED))
OLDEST = capabilities(Node(id="old", version=(1, 36, 0)))
NOTHING = capabilities(Node(id="bare", version=(1, 20, 0), extensions=frozenset()))
TO_A = (RouteTarget(pool="a"),)
PLAIN = Model(name="m", route=TO_A)
NICKNAMED = Model(name="m", aliases=("n", "o"), route=TO_A)
SERVICES = Services(ext_proc=SocketAddress("127.0.0.1", 9002))


def pool(name: str = "a", **fields: Any) -> Pool:
    """A pool of two pods."""
    fields.setdefault("endpoints", (StaticEndpoint(address="10.0.0.1:8000"), StaticEndpoint(address="10.0.0.2:8000")))
    return Pool(name=name, **fields)


def listener(**fields: Any) -> Listener:
    """A listener on loopback."""
    defaults: dict[str, Any] = {"name": "openai", "address": SocketAddress("127.0.0.1", 8080), "default_pool": "a"}
    return Listener(**defaults | fields)


def policy(*models: Model, pools: tuple[Pool, ...] | None = None, **listener_fields: Any) -> Policy:
    """One listener; by default one model on one pool."""
    return Policy(
        listeners=(listener(**listener_fields),),
        models=models or (Model(name="llama", aliases=("gpt-4",), route=(RouteTarget(pool="a"),)),),
        pools=pools or (pool(),),
    )


def compiled(
    value: Policy | None = None,
    wanted: Capabilities = EVERYTHING,
    fleet: Fleet | None = None,
    region: str = "",
    zone: str = "",
    materials: Materials = NO_MATERIALS,
) -> Compiled:
    """The snapshot of a policy."""
    value = value or policy()
    return compile_snapshot(value, fleet or static_fleet(value), SERVICES, wanted, region, zone, materials=materials)


def routes(value: Policy | None = None, wanted: Capabilities = EVERYTHING) -> list[Any]:
    """The routes of the only listener, in order."""
    resource: Any = compiled(value, wanted).routes["openai"]
    return list(resource["virtualHosts"][0]["routes"])


def manager(value: Policy | None = None, wanted: Capabilities = EVERYTHING) -> Any:
    """The connection manager of the only listener."""
    resource: Any = compiled(value, wanted).listeners["openai"]
    return resource["filterChains"][0]["filters"][0]["typedConfig"]
