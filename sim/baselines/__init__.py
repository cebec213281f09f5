"""Other systems' routing rules, to compare the production picker with: one file each, behind `sim.virtual.router`.

They are re-implementations of published formulas with those systems' own defaults, fed by the same events as the
production picker. All of them are given what a good deployment has: connection errors and readiness probes take an
endpoint out, and a retry goes to the rule's next choice. `registry` has a factory for each name; `bound` is computed,
not routed.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sim.baselines.aibrix_prefix_cache import AibrixPrefixCache
from sim.baselines.consistent_hash import BoundedHash, ConsistentHash
from sim.baselines.dynamo import Dynamo
from sim.baselines.epp_sticky import EppSticky
from sim.baselines.epp_weighted import EppWeighted
from sim.baselines.lmetric import Lmetric
from sim.baselines.mooncake import Mooncake
from sim.baselines.oracle import Oracle
from sim.baselines.plain import LeastRequest, PowerOfTwo, Random, RoundRobin
from sim.baselines.sglang_cache_aware import SglangCacheAware
from sim.baselines.sglang_least_load import SglangLeastLoad
from sim.baselines.unified import Unified
from sim.virtual.router import Factory

_RULES = (
    Unified,
    EppSticky,
    Lmetric,
    Dynamo,
    Mooncake,
    SglangCacheAware,
    SglangLeastLoad,
    AibrixPrefixCache,
    EppWeighted,
    BoundedHash,
    ConsistentHash,
    LeastRequest,
    PowerOfTwo,
    Random,
    RoundRobin,
    Oracle,
)

registry: Mapping[str, Factory] = MappingProxyType({rule.name: rule for rule in _RULES})
"""Factories by the name that `--strategies` takes, in the order of reports."""
