"""Where requests go: routes of models and rules, canaries, blue and green, mirrors, rewrites, virtual hosts.

The words are those of Istio's VirtualService wherever it has one. `Model` itself is in `model.py`.
"""

from control_plane.policy.admission import PRIORITY_NAME
from control_plane.policy.alternatives import OneOrMore
from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, Shorthand, block, setting
from control_plane.policy.degradation import FALLBACKS, Fallback
from control_plane.policy.faults import Fault
from control_plane.policy.matching import MAX_ALTERNATIVES, RuleMatch
from control_plane.policy.names import MODEL_NAME, plain_name
from control_plane.policy.percentages import ALL_REQUESTS, Percentage
from control_plane.policy.rate_limits import MAX_RATE_LIMITS, RateLimit
from control_plane.policy.scalars import MAX_UINT32, Choice, Integer, NameOf, Text
from control_plane.policy.traffic import Retries
from control_plane.policy.units import Duration

RULE_NAME = plain_name("the name of a rule")
HOST_NAME = plain_name("the name of a virtual host")

MAX_DOMAIN = 253
"""Characters of a host name (RFC 1035, section 2.3.4, without the dots at its ends)."""

# Envoy knows `*`, a star in front and a star at the end (`VirtualHost.domains`); ports are not compared.
DOMAIN = Text(
    "a host name without a port: `api.example.com`, `*.example.com`, `api.*` or `*`",
    r"\*|\*?[A-Za-z0-9._-]+|[A-Za-z0-9._-]+\*|\[[0-9A-Fa-f:.]+\]",
    MAX_DOMAIN,
    is_lower_cased=True,
)

MAX_MIRRORS = 8
"""Pools that get copies of the same request: each is a whole generation."""

MAX_MESSAGE = 500
"""Characters of a direct response's message; with its frame it stays below the 4 KiB that Envoy takes by default
(`RouteConfiguration.max_direct_response_body_size_bytes`), four bytes a character."""

MESSAGE = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]+", MAX_MESSAGE)

DEFAULT_MESSAGE = "This gateway does not serve the request."


@block(
    planned={
        "headers": "changes of headers",
        "subset": "parts of a pool; make it a pool of its own",
        "destination": "hosts; name a `pool`",
    },
    stand_ins={"pool": ("destination",)},
)
class RouteTarget(Block):
    """A pool's share of the requests."""

    pool: str = setting(NameOf("pools"), doc="The pool.")
    weight: int = setting(
        Integer(0, MAX_UINT32),
        default=1,
        doc="Its share relative to the other weights of the route; 0 sends it nothing. All together: 1..4294967295.",
    )


@block()
class BlueGreen(Block):
    """Two pools of which one serves: a new release is switched on, and back, by one word."""

    blue: str = setting(NameOf("pools"), doc="One pool.")
    green: str = setting(NameOf("pools"), doc="The other pool.")
    active: str = setting(Choice(("blue", "green")), doc="Which of the two gets all requests.")

    @property
    def pool(self) -> str:
        """The pool that serves."""
        return self.blue if self.active == "blue" else self.green


_HOST = {"host": "hosts; name a `pool`", "subset": "parts of a pool; make it a pool of its own"}


@block(planned=_HOST, stand_ins={"pool": ("host",)})
class MirrorTarget(Block):
    """A pool that gets copies of requests."""

    pool: str = setting(NameOf("pools"), doc="The pool. Its answers, and its failures, are thrown away.")


@block(planned=_HOST, stand_ins={"pool": ("host",)})
class Mirror(Block):
    """A pool that gets copies of a share of the requests."""

    pool: str = setting(NameOf("pools"), doc="The pool. Its answers, and its failures, are thrown away.")
    percentage: Percentage = setting(
        BlockOf(Percentage), default=ALL_REQUESTS, absent=(ALL_REQUESTS, "all"), doc="Share of the requests."
    )


@block(planned={"uri": "other paths", "authority": "other host names"})
class Rewrite(Block):
    """What the engine is asked for in place of what the client wrote."""

    model: str = setting(MODEL_NAME, doc="The model's name as this engine knows it.")


@block()
class DirectResponse(Block):
    """An answer of Envoy's own: no pool sees the request."""

    status: int = setting(Integer(400, 599), doc="The status of the answer.")
    message: str = setting(MESSAGE, default=DEFAULT_MESSAGE, doc="What it says, in an error object like OpenAI's.")


def targets_of(route: tuple[RouteTarget, ...], blue_green: BlueGreen | None) -> tuple[RouteTarget, ...]:
    """The pools by weight, also of blue and green: the active one alone."""
    return route if blue_green is None else (RouteTarget(pool=blue_green.pool),)


@block()
class Forwarding(Block):
    """What models and rules have in common: where their requests go, and how."""

    mirror: MirrorTarget | None = setting(
        BlockOf(MirrorTarget), default=None, absent=(None, "none"), doc="A pool that gets copies of the requests."
    )
    mirror_percentage: Percentage | None = setting(
        BlockOf(Percentage), default=None, absent=(None, "all"), doc="Share of the requests that `mirror` gets."
    )
    mirrors: tuple[Mirror, ...] = setting(
        ListOf(BlockOf(Mirror), maximum=MAX_MIRRORS), default=(), doc="Several mirrors, each with its share."
    )
    timeout_s: float | None = setting(
        Duration("1ms", "24h"), default=None, absent=(None, "`timeouts.request` of the pool"), doc="The whole request."
    )
    retries: Retries | None = setting(
        BlockOf(Retries), default=None, absent=(None, "`retries` of the pool"), doc="When a request is tried again."
    )
    rate_limit: tuple[RateLimit, ...] = setting(
        ListOf(BlockOf(RateLimit), maximum=MAX_RATE_LIMITS),
        default=(),
        doc="How many of its requests each Envoy lets through, at each listener, beside the listener's own limits.",
    )
    fault: Fault | None = setting(
        BlockOf(Fault),
        default=None,
        absent=(None, "the listener's"),
        doc="Delays and errors on purpose, for its requests.",
    )

    @property
    def name(self) -> str:
        """Its name."""
        raise NotImplementedError

    @property
    def targets(self) -> tuple[RouteTarget, ...]:
        """The pools by weight; none for an answer of Envoy's own."""
        raise NotImplementedError

    @property
    def rewrite(self) -> Rewrite | None:
        """What the engine is asked for."""
        raise NotImplementedError

    @property
    def all_mirrors(self) -> tuple[Mirror, ...]:
        """The pools that get copies, however they were written."""
        if self.mirror is None:
            return self.mirrors
        return (Mirror(pool=self.mirror.pool, percentage=self.mirror_percentage or ALL_REQUESTS), *self.mirrors)


ROUTE_KIND = ListOf(BlockOf(RouteTarget), minimum=1)


def _to_one_pool(pool: str) -> tuple[RouteTarget, ...]:
    return (RouteTarget(pool=pool),)


def pool_shorthand(doc: str) -> Shorthand:
    """`pool: a` for `route: [{pool: a}]`."""
    return Shorthand("pool", NameOf("pools"), _to_one_pool, ("[0]", "[0].pool"), doc)


@block(
    planned={
        "redirect": "redirects",
        "headers": "changes of headers",
        "corsPolicy": "rules for browsers; an `envoyPatch` can add them",
    },
    one_of=("pool", "route", "blueGreen", "directResponse"),
)
class Rule(Forwarding):
    """A route by content. The first rule that matches decides, in the order of the file, before the models' routes."""

    name: str = setting(RULE_NAME, doc="The rule's name; its routes in Envoy are `rule/<name>`.")
    match: tuple[RuleMatch, ...] = setting(
        OneOrMore(BlockOf(RuleMatch), MAX_ALTERNATIVES),
        default=(),
        absent=((), "every request"),
        doc="Which requests it is for. Of a list one match is enough. An inference call must still be a JSON object "
        "that names a model; which one matters only where `models` says so.",
    )
    route: tuple[RouteTarget, ...] = setting(
        ROUTE_KIND,
        default=(),
        absent=((), "none"),
        doc="The pools that serve, by weight. Exactly one of `pool`, `route`, `blueGreen` and `directResponse`.",
        shorthand=pool_shorthand("The one pool that serves."),
    )
    blue_green: BlueGreen | None = setting(
        BlockOf(BlueGreen), default=None, absent=(None, "none"), doc="Two pools of which one serves."
    )
    direct_response: DirectResponse | None = setting(
        BlockOf(DirectResponse),
        default=None,
        absent=(None, "none"),
        doc="An answer of Envoy's own instead of a pool's.",
    )
    priority: str = setting(
        PRIORITY_NAME,
        default="",
        absent=("", "by header, model and kind"),
        doc="The priority of its requests, whatever the client says, in a pool whose `admission` has one of that name.",
    )
    rewrite: Rewrite | None = setting(
        BlockOf(Rewrite), default=None, absent=(None, "none"), doc="What the engine is asked for, whatever was written."
    )
    fallback: tuple[Fallback, ...] | None = setting(
        FALLBACKS,
        default=None,
        absent=(None, "the pools of the model's own route, then its `fallback`"),
        doc="Where else its requests may go, in place of what their models say; `[]`: nowhere. A rule that keeps "
        "requests in a place for a reason should have one. Only for models with `fallback` or `degradation`.",
    )

    @property
    def targets(self) -> tuple[RouteTarget, ...]:
        """The pools by weight; none for an answer of Envoy's own."""
        return targets_of(self.route, self.blue_green)


@block()
class VirtualHost(Block):
    """Requests to some host names at one listener, with models and rules of their own.

    The most specific domain decides: an exact name, then the longest `*.name`, then the longest `name.*`, then `*`.
    Ports and case do not count. Requests to a host that nobody has are answered 404.
    """

    name: str = setting(HOST_NAME, doc="Its name, once per listener.")
    domains: tuple[str, ...] = setting(
        ListOf(DOMAIN, minimum=1), doc="The host names, each once per listener; `*` for all that are left."
    )
    models: tuple[str, ...] | None = setting(
        ListOf(NameOf("models")),
        default=None,
        absent=(None, "all"),
        doc="The models that are served here. With `[]` no request goes by its model: what no rule takes goes to the "
        "default pool.",
    )
    rules: tuple[str, ...] | None = setting(
        ListOf(NameOf("rules")),
        default=None,
        absent=(None, "all"),
        doc="The rules that hold here; they keep the order in which `rules` defines them.",
    )
    default_pool: str = setting(
        NameOf("pools"), default="", absent=("", "the listener's"), doc="Pool for every other path, never picked."
    )
