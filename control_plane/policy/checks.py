"""Rules between values: what no single key can know.

A rule is a function about a block (`RULES`) or a list of blocks (`LIST_RULES`). They run on whatever could be read,
also when other things could not, so that all errors of a file are reported at once. Rules about names are at the end.
"""

from collections.abc import Iterable

from control_plane.policy.admission import AdmissionPriority
from control_plane.policy.checks_admission import ADMISSION_RULES, check_priorities
from control_plane.policy.checks_degradation import check_cycles, check_degradations
from control_plane.policy.checks_discovery import are_places_known, endpoints_once, few_sources
from control_plane.policy.checks_filters import FILTER_RULES
from control_plane.policy.checks_groups import check_group, check_groups, check_identities, do_groups_meet
from control_plane.policy.checks_health import HEALTH_RULES
from control_plane.policy.checks_kv_events import KV_EVENT_RULES
from control_plane.policy.checks_notifications import NOTIFICATION_RULES
from control_plane.policy.checks_picker import PICKER_RULES
from control_plane.policy.checks_reach import check_reach
from control_plane.policy.checks_routing import ROUTING_LIST_RULES, ROUTING_RULES
from control_plane.policy.checks_scraping import SCRAPE_RULES
from control_plane.policy.checks_security import SECURITY_RULES
from control_plane.policy.checks_tokenizers import TOKENIZER_RULES, check_precise_models, check_tokens
from control_plane.policy.checks_traffic import TRAFFIC_LIST_RULES, TRAFFIC_RULES
from control_plane.policy.checks_weights import WEIGHT_RULES
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.discovery import ITEM_BLOCKS
from control_plane.policy.groups import Group
from control_plane.policy.model import (
    Failover,
    Listener,
    LocalityLbSetting,
    Policy,
    Pool,
    Retries,
    RouteTarget,
    StaticEndpoint,
    Timeouts,
)
from control_plane.policy.reader import BlockRule, Items, ListRule, Named, Reader, names_text, nearest_mark
from control_plane.policy.scalars import MAX_UINT32, singular
from control_plane.policy.string_match import StringMatch, check_string_match


def check_parts(reader: Reader) -> None:
    """Runs the rules about blocks, lists and names, on all that could be read."""
    for path, block in reader.built:
        for table in _TABLES:
            for rule in table.get(type(block), ()):
                rule(block, path, reader)
    for items in reader.lists:
        for list_rule in LIST_RULES.get(type(items.items[0][1]) if items.items else object, ()):
            list_rule(items, reader)
    _listen_addresses([(path, block) for path, block in reader.built if isinstance(block, Listener)], reader)
    check_identities(reader)
    check_precise_models(reader)
    check_cycles(reader)
    _aliases(reader)
    _references(reader)


def check_policy(policy: Policy, reader: Reader) -> None:
    """Runs the rules that need the whole policy; only asked when there is one without errors, and all they find are
    warnings: an error here would wait until all others are mended."""
    check_groups(policy, reader)
    check_reach(policy, reader)
    check_tokens(policy, reader)
    check_priorities(policy, reader)
    check_degradations(policy, reader)
    named = {reference.name for reference in reader.references if reference.what == "pools"}
    named |= {listener.default_pool for listener in policy.listeners}
    for pool in policy.pools:
        if pool.name not in named:
            message = f"no model and no listener uses the pool {quoted(pool.name)}"
            reader.report_at(f"pools.{pool.name}", Code.UNUSED_POOL, message, "remove it, or give it to a model")


def _route_weights(targets: Items, reader: Reader) -> None:
    """Envoy rejects weighted clusters whose weights add up to 0 or to more than a uint32 holds."""
    total = _weights(targets)
    if targets.is_complete and not 1 <= total <= MAX_UINT32:
        message = f"the weights of this route add up to {total:,}"
        reader.report_at(targets.path, Code.WEIGHT_SUM, message, f"together they must be in 1..{MAX_UINT32}")


def _endpoint_weights(endpoints: Items, reader: Reader) -> None:
    """Envoy rejects a locality whose weights add up to more than a uint32 holds, and a pool may be one locality."""
    total = _weights(endpoints)
    if total > MAX_UINT32:
        message = f"the weights of these endpoints add up to {total:,}"
        reader.report_at(endpoints.path, Code.WEIGHT_SUM, message, f"together they must be in 1..{MAX_UINT32}")


def _weights(items: Items) -> int:
    return sum(item.weight for _, item in items.items if isinstance(item, RouteTarget | StaticEndpoint))


def _unique(field: str, key: str, code: Code, noun: str) -> ListRule:
    """The rule that no two items of a list have the same value in one field."""

    def rule(items: Items, reader: Reader) -> None:
        values = [getattr(item, field) for _, item in items.items]
        for index, first in _repeated(values):
            first_mark = nearest_mark(reader.marks, f"{items.items[first][0]}.{key}")
            hint = f"the first is in {reader.line_of(first_mark)}" if first_mark else ""
            message = f"{noun} {quoted(values[index])} is in this list already"
            reader.report_at(f"{items.items[index][0]}.{key}", code, message, hint)

    return rule


def _failover_places(pool: Pool, path: str, reader: Reader) -> None:
    setting_path = f"{path}.trafficPolicy.loadBalancer.localityLbSetting"
    places = {endpoint.region or endpoint.zone for endpoint in pool.endpoints} - {""}
    for index, failover in enumerate(pool.traffic_policy.load_balancer.locality_lb_setting.failover):
        if failover.to not in places and are_places_known(pool):
            message = f"no endpoint of {quoted(pool.name)} is in {quoted(failover.to)}"
            hint = f"its endpoints are in {names_text(sorted(places))}" if places else "they have no region and no zone"
            reader.report_at(f"{setting_path}.failover[{index}].to", Code.UNKNOWN_LOCALITY, message, hint)


def _failover_without_locality(setting: LocalityLbSetting, path: str, reader: Reader) -> None:
    if setting.failover and not setting.enabled:
        message = "`failover` does nothing while `enabled` is false"
        reader.report_at(f"{path}.failover", Code.NO_EFFECT, message, "add `enabled: true`")


def _failover_to_itself(failover: Failover, path: str, reader: Reader) -> None:
    if failover.from_ == failover.to:
        message = f"{quoted(failover.to)} cannot take over for itself"
        reader.report_at(f"{path}.to", Code.FAILOVER_TO_ITSELF, message, "`from` and `to` are two places")


def _unused_status_codes(retries: Retries, path: str, reader: Reader) -> None:
    codes_path = f"{path}.retriableStatusCodes"
    if codes_path in reader.marks and "retriable-status-codes" not in retries.retry_on.split(","):
        message = "`retriableStatusCodes` does nothing without `retriable-status-codes` in `retryOn`"
        reader.report_at(codes_path, Code.NO_EFFECT, message, "add the word to `retryOn`, or remove the key")


def _long_first_byte(timeouts: Timeouts, path: str, reader: Reader) -> None:
    if timeouts.first_byte_s is not None and timeouts.first_byte_s >= timeouts.request_s:
        message = "`firstByte` does nothing: the whole request has no more time than that (`request`)"
        reader.report_at(f"{path}.firstByte", Code.NO_EFFECT, message, "make it shorter than `request`")


RULES: dict[type, tuple[BlockRule, ...]] = {
    Pool: (_failover_places,),
    LocalityLbSetting: (_failover_without_locality,),
    Failover: (_failover_to_itself,),
    Retries: (_unused_status_codes,),
    Timeouts: (_long_first_byte,),
    Group: (check_group,),
    StringMatch: (check_string_match,),
}
"""Kind of block → rules about one such block."""

_TABLES = (
    RULES, ADMISSION_RULES, FILTER_RULES, HEALTH_RULES, KV_EVENT_RULES, NOTIFICATION_RULES, PICKER_RULES, ROUTING_RULES,
    SCRAPE_RULES, SECURITY_RULES, TOKENIZER_RULES, TRAFFIC_RULES, WEIGHT_RULES,
)  # fmt: skip

LIST_RULES: dict[type, tuple[ListRule, ...]] = {
    RouteTarget: (_route_weights, _unique("pool", "pool", Code.DUPLICATE_TARGET, "the pool")),
    **dict.fromkeys(ITEM_BLOCKS, (_endpoint_weights, endpoints_once, few_sources)),
    AdmissionPriority: (_unique("name", "name", Code.DUPLICATE_NAME, "the priority"),),
    Failover: (_unique("words", "from", Code.FAILOVER_TO_ITSELF, "the failover"),),
    **ROUTING_LIST_RULES,
    **TRAFFIC_LIST_RULES,
}
"""Kind of block → rules about a list of such blocks."""


def _listen_addresses(listeners: list[tuple[str, Listener]], reader: Reader) -> None:
    """An address has one listener on each Envoy: two may have the same one if no group of Envoys has both."""
    for index, (path, listener) in enumerate(listeners):
        for _, earlier in listeners[:index]:
            if earlier.address == listener.address and do_groups_meet(earlier, listener):
                message = f"the address {quoted(str(listener.address))} belongs to the listener "
                hint = "an address has one listener"
                reader.report_at(
                    f"{path}.address", Code.DUPLICATE_ADDRESS, f"{message}{quoted(earlier.name)} already", hint
                )
                break


def _aliases(reader: Reader) -> None:
    """A name leads to one thing: no alias is the name of one, or an alias of another."""
    first: dict[tuple[str, str], Named] = {}
    for alias in reader.aliases:
        defined = reader.defined.get(alias.what, {}).get(alias.name)
        earlier = first.setdefault((alias.what, alias.name), alias)
        if defined is not None:
            message = f"the alias {quoted(alias.name)} is the name of a {singular(alias.what)}"
            reader.report(alias.node, Code.ALIAS_TAKEN, message, f"it is defined in {reader.line_of(defined)}")
        elif earlier is not alias:
            message = f"the alias {quoted(alias.name)} is taken"
            reader.report(alias.node, Code.ALIAS_TAKEN, message, f"by the one in {reader.line_of(earlier.node)}")


def _references(reader: Reader) -> None:
    for reference in reader.references:
        known = reader.defined.get(reference.what, {})
        if reference.name not in known:
            message = f"there is no {singular(reference.what)} {quoted(reference.name)}"
            hint = reader.did_you_mean(reference.name, known)
            reader.report(reference.node, Code.UNKNOWN_REFERENCE, message, hint)


def _repeated(values: Iterable[object]) -> list[tuple[int, int]]:
    """Positions of values that were there before, each with the position of the first."""
    first: dict[object, int] = {}
    return [(index, first[value]) for index, value in enumerate(values) if first.setdefault(value, index) != index]
