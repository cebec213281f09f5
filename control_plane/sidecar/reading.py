"""From the files of a policy to a document with its findings; and what going from one policy to another takes away."""

from control_plane.compile.findings import findings
from control_plane.policy import Diagnostic, Document
from control_plane.policy.loader import load_files
from control_plane.policy.model import Policy, StaticEndpoint
from control_plane.sidecar.own_strategies import InstalledStrategies
from control_plane.sidecar.policy_source import Files
from control_plane.xds.guard import Inventory, inventory, refusal
from protos.messages import Messages


def read(files: Files, messages: Messages) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """The policy of these files with all findings; None if one of them is an error. May run in a thread."""
    result = load_files(files, InstalledStrategies())
    if result.document is None:
        return None, result.diagnostics
    found = (*result.diagnostics, *findings(result.document, messages))
    is_good = all(diagnostic.severity != "error" for diagnostic in found)
    return (result.document if is_good else None), found


def declared(policy: Policy) -> Inventory:
    """What a policy names: pools, and for each its addresses, names and files."""
    return inventory(
        {
            pool.name: [item.address if isinstance(item, StaticEndpoint) else repr(item) for item in pool.endpoints]
            for pool in policy.pools
        }
    )


def removal(old: Policy, new: Policy) -> str:
    """Why going from one policy to another takes away too much; empty if it does not. The new one's bound counts."""
    return refusal(declared(old), declared(new), new.safety.max_removed_percent)
