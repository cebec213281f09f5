"""Which priority an endpoint's locality has for an Envoy that stands somewhere itself.

With `localityLbSetting.enabled`, nearest first (the order of Istio's locality failover):

0. the node's own place: every field that both sides give is equal;
1. the node's region, another zone;
2. the places that `failover` names for the node's region, in the order of the list;
3. everywhere else, and endpoints that do not say where they are.

Ranks that no endpoint has are closed up afterwards, because Envoy wants priorities without gaps. Envoy moves load to
the next priority as soon as less than about 72 % of one is healthy (its overprovisioning factor of 1.4, which
`overprovisioningFactor` changes). While requests move between places step by step, what has a share of them is one
priority, with weights in proportion to the shares.

Where a rule of `distribute` names the node's place, its shares hold instead: one priority, a weight for each locality
that it names, and nothing for the others (Istio, "Locality weighted distribution").
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.policy.model import LocalityLbSetting
from control_plane.policy.places import covers, path_of

_HERE = 0
_SAME_REGION = 1
_FIRST_FAILOVER = 2


SHARE_UNITS = 10_000
"""Weight of one percent: fine enough for shares within a percent, and 100 of them are far below Envoy's 2³²−1."""


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """A region and a zone; an empty field is one that is not given."""

    region: str = ""
    zone: str = ""

    @property
    def place(self) -> str:
        """What `failover` rules call this locality: its region, or its zone where it has no region."""
        return self.region or self.zone

    @property
    def path(self) -> str:
        """What `distribute` rules call this locality: `region/zone`, or what there is of it."""
        return path_of(self.region, self.zone)

    def __bool__(self) -> bool:
        return bool(self.place)


@dataclass(frozen=True, slots=True)
class Placement:
    """How an Envoy uses a locality: its priority, and its weight there."""

    priority: int
    weight: int


def placements(
    weights: Mapping[Locality, int],
    node: Locality,
    setting: LocalityLbSetting,
    shares: Mapping[Locality, int] | None = None,
) -> dict[Locality, Placement]:
    """How an Envoy at `node` uses each locality, of which `weights` says what its endpoints weigh together.

    Localities that are missing in the result get nothing. Unless a `distribute` rule says otherwise a locality weighs
    what its endpoints do, so that a policy that first draws a locality still gives each endpoint its share.

    `shares` are percent of the requests, by the place in which a locality is: while requests move between places
    (`control_plane.fleet.zones`) those that have some come first, in one priority, and weigh accordingly. The others
    follow in their order.
    """
    distributed = _distributed(weights, node, setting)
    if distributed is not None:
        return {locality: Placement(0, weight) for locality, weight in distributed.items()}
    order = priorities(weights, node, setting)
    if shares and any(shares.values()):
        return _shifted(weights, order, shares)
    return {locality: Placement(order[locality], weights[locality]) for locality in order}


def _shifted(
    weights: Mapping[Locality, int], order: Mapping[Locality, int], shares: Mapping[Locality, int]
) -> dict[Locality, Placement]:
    together: dict[int, int] = {}
    for locality, weight in weights.items():
        together[order[locality]] = together.get(order[locality], 0) + weight
    used = {order[locality] for locality, share in shares.items() if share}
    later = {place: number for number, place in enumerate(sorted(set(order.values()) - used), start=1)}
    return {
        locality: Placement(later[place], weights[locality])
        if place in later
        else Placement(0, max(1, shares.get(locality, 0) * SHARE_UNITS * weights[locality] // together[place]))
        for locality, place in order.items()
    }


def places(localities: Iterable[Locality], node: Locality, setting: LocalityLbSetting) -> dict[Locality, str]:
    """The place of each locality as an Envoy at `node` sees it, nearest first: localities of one priority are one.

    Its name is stable, whichever localities there are: that of the node, `REGION/*`, what `failover` names, or `*`.
    """
    ranks = {locality: _rank(locality, node, setting) for locality in set(localities)}
    names = [node.path, f"{node.region}/*", *(failover.to for failover in setting.failover), "*"]
    return {locality: names[rank] for locality, rank in sorted(ranks.items(), key=lambda item: (item[1], item[0]))}


def _distributed(
    weights: Mapping[Locality, int], node: Locality, setting: LocalityLbSetting
) -> dict[Locality, int] | None:
    """Localities' weights by the first rule that names the node's place, None without one.

    Several localities of one share divide it by what their endpoints weigh; a share without any is not dealt out, so
    the others keep their proportions.
    """
    if not setting.enabled:
        return None
    rule = next((rule for rule in setting.distribute if covers(rule.from_, node.path)), None)
    if rule is None:
        return None
    result: dict[Locality, int] = {}
    for pattern, percent in rule.to.items():
        found = [locality for locality in sorted(weights) if covers(pattern, locality.path)]
        total = sum(weights[locality] for locality in found)
        for locality in found:
            result.setdefault(locality, max(1, percent * SHARE_UNITS * weights[locality] // total))
    return result


def priorities(localities: Iterable[Locality], node: Locality, setting: LocalityLbSetting) -> Mapping[Locality, int]:
    """The priority of each locality, 0 first and without gaps."""
    found = sorted(set(localities))
    if not setting.enabled or not node:
        return dict.fromkeys(found, 0)
    ranks = {locality: _rank(locality, node, setting) for locality in found}
    order = {rank: priority for priority, rank in enumerate(sorted(set(ranks.values())))}
    return {locality: order[rank] for locality, rank in ranks.items()}


def _rank(locality: Locality, node: Locality, setting: LocalityLbSetting) -> int:
    elsewhere = _FIRST_FAILOVER + len(setting.failover)
    if not locality:
        return elsewhere
    region = _compare(locality.region, node.region)
    zone = _compare(locality.zone, node.zone)
    if region is not False and zone is not False and (region or zone):
        return _HERE
    if region:
        return _SAME_REGION
    home = node.place if locality.region else node.zone or node.region
    for position, failover in enumerate(setting.failover):
        if failover.from_ == home and failover.to == locality.place:
            return _FIRST_FAILOVER + position
    return elsewhere


def _compare(one: str, other: str) -> bool | None:
    """Whether two fields are equal; None where one of them is not given."""
    return one == other if one and other else None
