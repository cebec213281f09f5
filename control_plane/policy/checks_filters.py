"""Rules about faults, limits, logs and patches; `checks.py` runs them."""

from control_plane.policy.faults import Fault, FaultAbort, check_abort, check_fault
from control_plane.policy.patches import PatchOperation, check_operation
from control_plane.policy.rate_limits import RateLimitHeader, check_rate_limit_header
from control_plane.policy.reader import BlockRule

FILTER_RULES: dict[type, tuple[BlockRule, ...]] = {
    Fault: (check_fault,),
    FaultAbort: (check_abort,),
    RateLimitHeader: (check_rate_limit_header,),
    PatchOperation: (check_operation,),
}
"""Kind of block → rules about one such block."""
