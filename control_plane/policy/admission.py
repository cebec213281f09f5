"""When a pool's endpoints are full, and who waits for a place. `docs/admission.md` says when that pays."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.names import HEADER_NAME, plain_name
from control_plane.policy.request_kinds import KINDS
from control_plane.policy.scalars import Boolean, Choice, Integer, NameOf, Percent
from control_plane.policy.units import Duration

MAX_REQUESTS = 100_000
"""Requests at one endpoint or in one queue: Envoy has fewer streams open to the picker (16,384 for each worker)."""

MAX_HEADROOM = 10_000
"""Percent: more is no bound for anybody."""

MAX_TOKENS = 1_000_000_000
"""Tokens that wait, or are computed, at one time: no fleet is that large, and the sums stay small."""

LONGEST_WAIT = "5m"
"""Of one request: clients and proxies between give up long before, and Envoy is asked to be as patient."""

MAX_PRIORITIES = 16
"""Of one pool: each is a row of metrics."""

USUAL_PRIORITY = "normal"
"""The name of the only priority where none are given."""

PRIORITY_NAME = plain_name("the name of a priority")


@block()
class AdmissionPriority(Block):
    """Requests that go before others, or after them."""

    name: str = setting(PRIORITY_NAME, doc="Its name, as the header says it.")
    kinds: tuple[str, ...] = setting(
        ListOf(Choice(KINDS)),
        default=(),
        absent=((), "none"),
        doc="Kinds of requests that have it where neither header nor model say another one.",
    )
    models: tuple[str, ...] = setting(
        ListOf(NameOf("models")),
        default=(),
        absent=((), "none"),
        doc="Models whose requests have it where the header says nothing, also under their aliases.",
    )
    max_wait_s: float | None = setting(
        Duration("1ms", LONGEST_WAIT),
        default=None,
        absent=(None, "`maxWait` of the admission"),
        doc="The longest wait of such a request.",
    )
    sheddable: bool = setting(
        Boolean(), default=False, doc="Whether such a request is refused at once, instead of waiting, when all is full."
    )


@block()
class Admission(Block):
    """Requests beyond what the endpoints can do at one time wait in the picker, or are refused with 429.

    The limits are for the mean endpoint of the pool: four of them with `maxInFlight: 16` have 64 places.
    """

    max_in_flight: int | None = setting(
        Integer(1, MAX_REQUESTS),
        default=None,
        absent=(None, "no limit"),
        doc="Requests in flight: the picker's own, and those of others that the engine's metrics show.",
    )
    max_prefill_tokens: int | None = setting(
        Integer(1, MAX_TOKENS),
        default=None,
        absent=(None, "no limit"),
        doc="Prompt tokens before their first token, without those that the endpoint's cache holds.",
    )
    max_kv_usage: int | None = setting(
        Percent(), default=None, absent=(None, "no limit"), doc="KV memory in use, as the engine tells it."
    )
    headroom: int | None = setting(
        Integer(0, MAX_HEADROOM, "percent"),
        default=None,
        absent=(None, "that is the strategy's affair"),
        doc="By how many percent one endpoint may be above the limits while others are below. The less, the more often "
        "requests go where a place is, instead of where their prompt is cached.",
    )
    max_waiting: int = setting(
        Integer(0, MAX_REQUESTS),
        default=1_000,
        doc="Requests that may wait; more are refused, the lowest priority's newest first.",
    )
    max_waiting_tokens: int = setting(
        Integer(0, MAX_TOKENS), default=10_000_000, doc="Prompt tokens of all that wait, likewise."
    )
    max_wait_s: float = setting(Duration("1ms", LONGEST_WAIT), default=30.0, doc="The longest wait of a request.")
    priority_header: str | None = setting(
        OrWord(HEADER_NAME, "off", "clients do not choose"),
        default="x-priority",
        doc="Request header that names one of `priorities`.",
    )
    tenant_header: str | None = setting(
        OrWord(HEADER_NAME, "off", "all are one tenant"),
        default="x-tenant",
        doc="Request header that says for whom a request is: within a priority, tenants take turns by tokens. Requests "
        "without it are one tenant.",
    )
    wait_header: str | None = setting(
        OrWord(HEADER_NAME, "off", "clients do not choose"),
        default="x-max-wait-ms",
        doc="Request header with the milliseconds that its client is ready to wait, where that is shorter; 0: not at "
        "all.",
    )
    priorities: tuple[AdmissionPriority, ...] = setting(
        ListOf(BlockOf(AdmissionPriority), maximum=MAX_PRIORITIES),
        default=(),
        absent=((), f"one, `{USUAL_PRIORITY}`"),
        doc="The highest first. One waits until nobody of a higher one does.",
    )
    default_priority: str = setting(
        PRIORITY_NAME,
        default="",
        absent=("", "the first of `priorities`"),
        doc="The priority of requests of which neither header nor kind says another one.",
    )

    @property
    def longest_wait_s(self) -> float:
        """Of any priority."""
        waits = (0.0 if each.sheddable else each.max_wait_s or self.max_wait_s for each in self.priorities)
        return max(waits, default=self.max_wait_s)
