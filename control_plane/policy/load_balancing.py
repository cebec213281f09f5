"""How endpoints are chosen on the path without a pick, and which places come first: Istio's `loadBalancer`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.policy.adaptive_weights import AdaptiveWeights
from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, MapOf, OrWord
from control_plane.policy.decimals import Decimal
from control_plane.policy.declare import Block, Shorthand, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.names import HEADER_NAME, MAX_NAME, PLACE, plain_name
from control_plane.policy.scalars import Boolean, Choice, Integer, Percent, Text
from control_plane.policy.units import Duration
from ext_proc.core.address import MAX_PORT

SIMPLE_POLICIES = ("LEAST_REQUEST", "ROUND_ROBIN", "RANDOM")
"""Istio's words for Envoy's plain policies."""

MAX_RING_SIZE = 8 * 1024 * 1024
"""Envoy's own bound on the entries of a ring (`RingHash.maximum_ring_size`)."""

MAX_TABLE_SIZE = 5_000_011
"""Envoy's own bound on the entries of a Maglev table (`Maglev.table_size`), which must be a prime number."""

MIN_BALANCE_FACTOR = 100
"""A bound below the mean load could not be kept (`ConsistentHashingLbConfig.hash_balance_factor`)."""

MIN_WEIGHT_UPDATE = "100ms"
"""Envoy does not compute weights from load reports more often (`ClientSideWeightedRoundRobin.weight_update_period`)."""

MAX_SHARES = 100
"""Places of one distribution: each gets at least one percent."""

MAX_OVERPROVISIONING = 100_000
"""Percent; at a thousandfold even one healthy endpoint of a thousand keeps its place's load."""

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"

COOKIE_NAME = Text("the name of a cookie (letters, digits, `-`, `_` and a few more signs)", _TOKEN, MAX_NAME)
COOKIE_PATH = Text("a path of a cookie, such as `/`", r"/[!-:<-~]*", MAX_NAME)
QUERY_PARAMETER = Text("the name of a query parameter (printable ASCII without `&`, `=`, `#`)", r"[!-~]+", MAX_NAME)
METRIC_NAME = plain_name("the name of an ORCA metric such as `named_metrics.kv_cache`")
PLACE_PATTERN = Text(
    "a place such as `us-east/us-east-1a`, `us-east/*` or `*`",
    r"\*|[A-Za-z0-9][A-Za-z0-9._/-]*(?:/\*)*",
    2 * MAX_NAME,
)


@dataclass(frozen=True, slots=True)
class PrimeNumber(ScalarKind[int]):
    """A prime number; Envoy refuses other sizes of a Maglev table."""

    maximum: int

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return f"a prime number up to {self.maximum}"

    def parse(self, text: str) -> int:
        """The number; raises ValueRefusedError."""
        number = Integer(2, self.maximum).parse(text)
        if not _is_prime(number):
            larger = next((n for n in range(number, self.maximum + 1) if _is_prime(n)), self.maximum)
            raise ValueRefusedError(f"{quoted(text)} is not a prime number", f"the next one is {larger}")
        return number

    def schema(self) -> Json:
        """A whole number; that it is prime only the loader knows."""
        return Integer(2, self.maximum).schema()

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"prime number, 2..{self.maximum}"


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


@block()
class HttpCookie(Block):
    """A cookie that keeps a client at its endpoint; Envoy makes one for a client that has none."""

    name: str = setting(COOKIE_NAME, doc="The cookie's name.")
    path: str = setting(COOKIE_PATH, default="/", doc="The path of a cookie that Envoy makes.")
    ttl_s: float = setting(
        Duration("0s", "8760h"),
        default=0.0,
        doc="How long a cookie that Envoy makes is kept; `0s`: until the client ends its session.",
    )


@block()
class RingHash(Block):
    """A ring on which each endpoint has several places."""

    minimum_ring_size: int = setting(
        Integer(1, MAX_RING_SIZE), default=1024, doc="Least number of entries; more of them keep weights more exactly."
    )


@block()
class Maglev(Block):
    """A table of fixed size: quicker than a ring, and it moves a few more keys when endpoints change."""

    table_size: int = setting(PrimeNumber(MAX_TABLE_SIZE), default=65_537, doc="Entries of the table.")


@block(planned={"minimumRingSize": "Istio's older place of it; write `ringHash: {minimumRingSize: …}`"})
class ConsistentHash(Block):
    """Requests with the same key go to the same endpoint as long as it is there.

    Exactly one of `httpHeaderName`, `httpCookie`, `useSourceIp` and `httpQueryParameterName` is the key; requests
    without it go anywhere. At most one of `ringHash` and `maglev`.
    """

    http_header_name: str = setting(HEADER_NAME, default="", absent=("", ""), doc="The key is this request header.")
    http_cookie: HttpCookie | None = setting(
        BlockOf(HttpCookie), default=None, absent=(None, ""), doc="The key is this cookie."
    )
    use_source_ip: bool = setting(Boolean(), default=False, doc="Whether the key is the client's IP address.")
    http_query_parameter_name: str = setting(
        QUERY_PARAMETER, default="", absent=("", ""), doc="The key is this parameter of the query."
    )
    ring_hash: RingHash | None = setting(
        BlockOf(RingHash), default=None, absent=(None, "a ring of 1024"), doc="Endpoints stand on a ring."
    )
    maglev: Maglev | None = setting(
        BlockOf(Maglev), default=None, absent=(None, ""), doc="Endpoints stand in a Maglev table, in place of the ring."
    )
    hash_balance_factor: int | None = setting(
        Integer(MIN_BALANCE_FACTOR, 10_000, "percent"),
        default=None,
        absent=(None, "no bound"),
        doc="Bounded load: an endpoint with more than this percentage of the mean number of requests is passed over.",
    )


@block()
class OutOfBand(Block):
    """Load reports beside the answers: a stream of the ORCA service (`xds.service.orca.v3.OpenRcaService`)."""

    period_s: float = setting(Duration("100ms", "1h"), default=10.0, doc="How often an endpoint is asked to report.")
    port: int | None = setting(
        Integer(1, MAX_PORT), default=None, absent=(None, "that of the requests"), doc="Port of the service."
    )


@block()
class ClientSideWeighted(Block):
    """Endpoints weigh what they report of their load (ORCA): requests per second ÷ utilization, errors counted in.

    Reports come with the answers (header or trailer `endpoint-load-metrics`), or by a stream of their own. Until they
    have come, all weigh the same.
    """

    metric_names: tuple[str, ...] = setting(
        ListOf(METRIC_NAME, maximum=16),
        default=(),
        doc="Metrics whose largest is the utilization, such as `named_metrics.kv_cache`. None: "
        "`application_utilization`, else `cpu_utilization`.",
    )
    blackout_period_s: float = setting(
        Duration("0s", "1h"), default=10.0, doc="How long an endpoint must have reported before its weight counts."
    )
    weight_expiration_period_s: float = setting(
        Duration("1s", "24h"), default=180.0, doc="Age of a report at which it counts no more."
    )
    weight_update_period_s: float = setting(
        Duration(MIN_WEIGHT_UPDATE, "1h"), default=1.0, doc="How often weights are computed anew."
    )
    error_utilization_penalty: float = setting(
        Decimal(0.0, 1000.0), default=1.0, doc="How much the rate of errors adds to the utilization; 0: nothing."
    )
    out_of_band: OutOfBand | None = setting(
        BlockOf(OutOfBand),
        default=None,
        absent=(None, "reports come with the answers"),
        doc="Reports by a stream of their own.",
    )


@block()
class Warmup(Block):
    """Slow start: an endpoint that is new, was drained or restarted gets its full share only after a while."""

    duration_s: float = setting(Duration("1s", "24h"), doc="How long it takes to the full share.")
    minimum_percent: int = setting(Percent(), default=10, doc="The share at the beginning.")
    aggression: float = setting(
        Decimal(0.01, 100.0),
        default=1.0,
        doc="The form of the rise: 1 in a straight line, above 1 quicker at the beginning, below 1 slower.",
    )


@block()
class Failover(Block):
    """Where requests go when a place has no healthy endpoint left; of several for one place the first comes first."""

    from_: str = setting(PLACE, doc="Region of the Envoy, or zone where endpoints have no region.")
    to: str = setting(PLACE, doc="Region (or zone) that takes over.")

    @property
    def words(self) -> str:
        """What it does."""
        return f"{self.from_} to {self.to}"


@block()
class Distribute(Block):
    """Fixed shares of places for the Envoys of one place."""

    from_: str = setting(
        PLACE_PATTERN,
        doc="Place of the Envoy: `region/zone`, `region/*`, a zone alone where there is no region, or `*`.",
    )
    to: Mapping[str, int] = setting(
        MapOf(PLACE_PATTERN, Integer(1, 100, "percent"), MAX_SHARES),
        hash=False,
        doc="Place of endpoints → its share; together 100. Places that are not named get nothing.",
    )


@block()
class Shift(Block):
    """How requests move between places, step by step, when the nearest one fails, is full, or is back.

    `docs/zones.md` says more.
    """

    step: int = setting(
        Integer(1, 100, "percent"), default=20, doc="So much of a place's requests moves at a time; 100 is all at once."
    )
    every_s: float = setting(
        Duration("100ms", "10m"),
        default=5.0,
        doc="Time between two steps. Each is taken only if the last one did no harm.",
    )
    min_healthy: int = setting(
        Integer(1, 100, "percent"),
        default=50,
        doc="A place with a smaller share of healthy endpoints is not ready: its requests move on to the next place "
        "that is, and none move to it.",
    )
    max_errors: int = setting(
        Integer(0, 100, "percent"),
        default=5,
        doc="If more of the tries of a step fail in the place that requests move to, the step is taken back.",
    )
    stable_for_s: float = setting(
        Duration("0s", "24h"),
        default=30.0,
        doc="So long without a break a place must be ready again before its requests begin to come back.",
    )
    offline_after_s: float = setting(
        Duration("0s", "10m"),
        default=3.0,
        doc="Requests leave a place at once in which nobody can be used. If that was over sooner than this, they are "
        "back at once, too; else step by step.",
    )
    spill_at: int | None = setting(
        OrWord(Integer(10, 1000, "percent"), "off", "a place that is full keeps its requests"),
        default=100,
        doc="How full a place may be (of its KV memory, of the limits of `picker.admission`; above 100 requests wait "
        "in its engines) before part of its requests spills over to the next place that has room.",
    )


@block(planned={"failoverPriority": "failover by labels"})
class LocalityLbSetting(Block):
    """Whether endpoints near to Envoy come first."""

    enabled: bool = setting(Boolean(), default=False, doc="Whether endpoints of Envoy's own locality are preferred.")
    failover: tuple[Failover, ...] = setting(
        ListOf(BlockOf(Failover)), default=(), doc="Which place takes over for which, before all others."
    )
    distribute: tuple[Distribute, ...] = setting(
        ListOf(BlockOf(Distribute)),
        default=(),
        doc="Fixed shares instead of nearest first, for Envoys that one of them names (the first that does). Picks "
        "keep to the places; the exact shares hold for requests without a pick.",
    )
    overprovisioning_factor: int | None = setting(
        Integer(100, MAX_OVERPROVISIONING, "percent"),
        default=None,
        absent=(None, "Envoy's own, 140"),
        doc="How much more load the healthy endpoints of a place can take than their part of it: at 140 requests move "
        "on as soon as less than 72 % of a place is healthy, at 100 with the first that is lost, at 1000 below 10 %.",
    )
    shift: Shift | None = setting(
        OrWord(BlockOf(Shift), "off", "all at once, there and back; Envoy alone spills over"),
        default=Shift(),
        doc="How requests move to the next place and back. Not with `distribute`.",
    )

    @property
    def shifts(self) -> Shift | None:
        """How requests move between places; None where they have no order, or move at once."""
        return self.shift if self.enabled and not self.distribute else None

    @property
    def has_shares(self) -> bool:
        """Whether places may have fixed shares, instead of nearest first."""
        return self.enabled and bool(self.distribute)


def _for(duration_s: float) -> Warmup:
    return Warmup(duration_s=duration_s)


@block()
class LoadBalancer(Block):
    """How endpoints are chosen on the path without a pick. At most one of `simple`, `consistentHash` and
    `clientSideWeighted`."""

    simple: str = setting(
        Choice(
            SIMPLE_POLICIES,
            planned={
                "LEAST_CONN": "Istio's older name of LEAST_REQUEST",
                "PASSTHROUGH": "requests to the address that the client asked for; endpoints come from the policy here",
                "UNSPECIFIED": "leave the key out",
            },
        ),
        default="LEAST_REQUEST",
        doc="`LEAST_REQUEST`: of two endpoints drawn at random the one with fewer requests. `ROUND_ROBIN`: each in "
        "turn. `RANDOM`: any. Endpoints' weights count for all but `RANDOM`.",
    )
    consistent_hash: ConsistentHash | None = setting(
        BlockOf(ConsistentHash), default=None, absent=(None, ""), doc="Requests with the same key go to one endpoint."
    )
    client_side_weighted: ClientSideWeighted | None = setting(
        BlockOf(ClientSideWeighted),
        default=None,
        absent=(None, ""),
        doc="Round robin by the load that endpoints report (ORCA).",
    )
    warmup: Warmup | None = setting(
        BlockOf(Warmup),
        default=None,
        absent=(None, "no slow start"),
        doc="Slow start. Requests without a pick have none with `RANDOM` and `consistentHash`.",
        shorthand=Shorthand(
            "warmupDurationSecs", Duration("1s", "24h"), _for, (".duration",), "Istio's older key: only the duration."
        ),
    )
    adaptive_weights: AdaptiveWeights | None = setting(
        BlockOf(AdaptiveWeights),
        default=None,
        absent=(None, "weights stay as configured"),
        doc="Weights follow what endpoints turn out to serve: for strategies that look at weights, and for requests "
        "without a pick.",
    )
    locality_lb_setting: LocalityLbSetting = setting(
        BlockOf(LocalityLbSetting), default=LocalityLbSetting(), doc="Whether endpoints near to Envoy come first."
    )
