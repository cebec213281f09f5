"""What the routes of a listener need of its filters."""

from typing import Any

from control_plane.compile.needs import ORDINARY, Needs, all_engine_names, engine_names, hosts_of, needs_of
from control_plane.policy.admission import Admission
from control_plane.policy.matching import RuleMatch, TokenRange
from control_plane.policy.model import Model, Policy, Pool, Rule, VirtualHost
from control_plane.policy.routing import DirectResponse, Rewrite
from control_plane.policy.strategies import Batch, KvAwareStrategy, PickerFilter, PoolPicker, SessionStrategy
from tests.unit.control_plane.compile.samples import NICKNAMED, PLAIN, TO_A, listener, policy, pool

REWRITTEN = Model(name="m", aliases=("n",), route=TO_A, rewrite=Rewrite(model="engine"))


def with_rules(*rules: Rule, models: tuple[Model, ...] = (PLAIN,), **fields: Any) -> Policy:
    """A policy with rules, and one listener."""
    return Policy(listeners=(listener(**fields),), models=models, pools=(pool(),), rules=rules)


def needs(value: Policy) -> Needs:
    """Those of the only listener."""
    return needs_of(value.listeners[0], value)


def test_names_for_engines() -> None:
    """What a client may write and the engine does not know."""
    assert engine_names(PLAIN) == {}
    assert engine_names(NICKNAMED) == {"n": "m", "o": "m"}
    assert engine_names(REWRITTEN) == {"m": "engine", "n": "engine"}
    assert all_engine_names(policy(NICKNAMED, Model(name="k", route=TO_A))) == {"n": "m", "o": "m"}


def test_ordinary() -> None:
    """Models alone need their bodies read, and nothing else."""
    assert needs(policy(PLAIN)) == ORDINARY == Needs(model=True, rewrite=False)


def test_rewriting() -> None:
    """Needed for aliases and rewrites, of models and of rules."""
    assert needs(policy(NICKNAMED)).rewrite
    assert needs(policy(REWRITTEN)).rewrite
    assert needs(with_rules(Rule(name="r", route=TO_A, rewrite=Rewrite(model="x")))).rewrite
    assert not needs(with_rules(Rule(name="r", route=TO_A))).rewrite


def test_what_routes_alone_are_about() -> None:
    """Rules, answers and virtual hosts ask nothing new of the listener, so that adding the first one drains nobody."""
    answering = Rule(name="r", direct_response=DirectResponse(status=403))
    host = VirtualHost(name="h", domains=("a.test",))
    assert needs(with_rules(answering, Rule(name="s", route=TO_A), virtual_hosts=(host,))) == ORDINARY


def test_bodies() -> None:
    """Not read where no virtual host has a model and no rule asks for one."""
    none = (VirtualHost(name="h", domains=("*",), models=()),)
    asking = Rule(name="r", route=TO_A, match=(RuleMatch(models=("m",)),))
    assert not needs(with_rules(Rule(name="r", route=TO_A), virtual_hosts=none)).model
    assert needs(with_rules(asking, virtual_hosts=none)).model


def test_a_listener_without_virtual_hosts_has_one() -> None:
    """For every host name, called like the listener."""
    (host,) = hosts_of(listener())
    assert (host.name, host.domains, host.models, host.rules) == ("openai", ("*",), None, None)


def test_headers_that_strategies_look_at() -> None:
    """Of every pool whose strategy is `session`, or which holds sessions with a bound, but for the header that the
    listener passes on anyway."""

    def sticky(name: str, strategy: str = "session", shadow: str = "", **session: Any) -> Pool:
        return pool(name, picker=PoolPicker(strategy=strategy, shadow=shadow, session=SessionStrategy(**session)))

    pools = (
        sticky("a", http_header_name="x-user"),
        sticky("b", http_cookie_name="sid"),
        sticky("c", use_user=True),
        sticky("d", http_header_name="x-session-id"),
        sticky("e", "round-robin", http_header_name="x-unused"),
        sticky("f"),
        sticky("g", "kv-aware", "session", http_header_name="x-shadow"),
    )
    assert needs(policy(PLAIN, pools=pools)).headers == ("cookie", "x-shadow", "x-user")
    bound = PoolPicker(kv_aware=KvAwareStrategy(session_bound_s=1), session=SessionStrategy(http_header_name="x-h"))
    assert needs(policy(PLAIN, pools=(pool("h", picker=bound),))).headers == ("x-h",)
    assert needs(policy(PLAIN, pools=pools, session_header="x-user")).headers == ("cookie", "x-session-id", "x-shadow")


def test_headers_that_admission_looks_at() -> None:
    """Priority, tenant and patience, of every pool that may let requests wait."""
    door = Admission(max_in_flight=1, tenant_header="x-team")
    pools = (pool("a", picker=PoolPicker(admission=door)), pool("b"))
    assert needs(policy(PLAIN, pools=pools)).headers == ("x-max-wait-ms", "x-priority", "x-team")


def test_what_is_read_of_bodies_for_rules() -> None:
    """The model in any case; the bound on the answer and tools for rules that ask for them; a length is a header."""
    short = RuleMatch(prompt_tokens=TokenRange(less_than=5))
    assert needs(with_rules(Rule(name="r", match=(short,), route=TO_A), models=())) == Needs(model=False)
    brief = RuleMatch(max_tokens=TokenRange(less_than=5))
    assert needs(with_rules(Rule(name="r", match=(brief,), route=TO_A), models=())) == Needs(bound=True)
    plain = RuleMatch(tools=False)
    assert needs(with_rules(Rule(name="r", match=(short, plain), route=TO_A), models=())) == Needs(tools=True)


def test_headers_of_batches_and_of_doors() -> None:
    """Those by which batches are known; none where a door does not look at headers."""
    batches = PoolPicker(filters=(PickerFilter(batch=Batch()), PickerFilter(batch=Batch(http_header_name="x-job"))))
    assert needs(policy(PLAIN, pools=(pool(picker=batches),))).headers == ("x-batch-id", "x-job")
    closed = Admission(max_in_flight=1, priority_header=None, tenant_header=None, wait_header=None)
    assert needs(policy(PLAIN, pools=(pool(picker=PoolPicker(admission=closed)),))).headers == ()
