"""What a trace is replayed over: engines, routers, the network between them, and what goes wrong. Values only."""

from dataclasses import dataclass
from typing import Literal

from sim.profile import DEMO, Profile
from sim.virtual.faults import Fault
from sim.virtual.router import Factory

PORT = 8_000
"""vLLM's default; simulated addresses only have to look like addresses."""

MAX_ENGINES = 4_096
"""As many as a /20 has; a replay of more would be about the simulator's memory."""

MAX_ATTEMPTS = 3
"""As the routes that kvpilot compiles: the first try, and two retries on the further names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One arrangement. Raises ValueError when its numbers make no sense.

    Defaults are those of kvpilot in one cluster network: scrapes every 200 ms, and first tokens known from periodic
    access log records every 250 ms of a request.
    """

    factory: Factory
    profile: Profile = DEMO
    engines: int = 8
    zones: tuple[str, ...] = ()
    """Zones of the engines, in turn; none: there is one."""

    router_zones: tuple[str, ...] = ()
    """Zones in which the routers stand, in turn; none: nobody knows."""

    zone_s: float = 0.0
    """What one way is longer between a router and an engine of another zone."""

    routers: int = 1
    """Each has its share of the requests."""

    spread: Literal["random", "in-turn"] = "random"
    """Which router a request comes to."""

    network_s: float = 0.0005
    """One way between router and engine: half a millisecond, two hops and a proxy in one data centre."""

    scrape_s: float = 0.2
    """From one scrape of an engine to the next, per router; infinite: never."""

    scrape_delay_s: float = 0.005
    """From an engine's answer to the moment the router knows it."""

    scrape_jitter: float = 0.1
    """Share of `scrape_s` by which each interval is longer or shorter, evenly distributed."""

    report_s: float | None = 0.25
    """Interval of a request's log records, from which first tokens are known; None: they are never told."""

    kv_events: bool = False
    """Whether engines tell every router which blocks got into their prefix caches and which left them."""

    kv_event_delay_s: float = 0.005
    """From the end of the engine's step to the moment routers know: its publisher's queue, the network, and reading the
    message beside other work. As `scrape_delay_s` an estimate, not measured."""

    exchange_s: float | None = None
    """After which time routers that can do so know of each other's picks and of the events of each other's requests;
    None: they share nothing."""

    first_byte_s: float | None = None
    """How long a try may take to its first token before the next endpoint is tried; None: for ever."""

    estimate: float = 1.0
    """What routers take a prompt's length to be, relative to the truth."""

    give_up_s: float | None = None
    """How long clients wait for a first token before they go away; None: for ever."""

    abort_share: float = 0.0
    """Share of the clients that go away in the middle of their answers, whatever the rule does."""

    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be played."""
        if not 1 <= self.engines <= MAX_ENGINES:
            raise ValueError(f"a fleet has 1 to {MAX_ENGINES} engines")
        if self.routers < 1:
            raise ValueError("there is at least one router")
        if min(self.network_s, self.zone_s, self.scrape_delay_s) < 0 or not 0 <= self.scrape_jitter < 1:
            raise ValueError("delays are not negative, and the jitter is a share below 1")
        if self.kv_events and self.profile.engine == "llamacpp":
            raise ValueError("llama.cpp has no KV-cache events")
        if self.kv_event_delay_s < 0 or (self.exchange_s or 0) < 0:
            raise ValueError("events come after a delay that is not negative")
        if self.scrape_s <= 0 or self.estimate <= 0 or min(self.report_s or 1, self.first_byte_s or 1) <= 0:
            raise ValueError("intervals, limits and the estimate are positive")
        if not 0 <= self.abort_share <= 1 or (self.give_up_s is not None and self.give_up_s <= 0):
            raise ValueError("a share is between 0 and 1, and patience is positive")
        for fault in self.faults:
            if fault.pod > self.engines:
                raise ValueError(f"{fault.kind}: there is no pod {fault.pod}, there are {self.engines}")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The engines' addresses, the first one's ending in 1."""
        return tuple(f"10.0.{n // 256}.{n % 256}:{PORT}" for n in range(1, self.engines + 1))
