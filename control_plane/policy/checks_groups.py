"""Rules about groups of Envoys."""

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.groups import DEFAULT_GROUP, AppliesTo, Group
from control_plane.policy.model import Listener, Policy
from control_plane.policy.reader import Reader
from control_plane.policy.security import MUTUAL, ControlPlane

_PORTS = "controlPlane"


def check_groups(policy: Policy, reader: Reader) -> None:
    """The first group that fits has the Envoy, so one without conditions leaves nothing to those after it.

    Only a warning, and it needs them all: only asked when there is a policy.
    """
    for index, group in enumerate(policy.groups[:-1]):
        if group.applies_to == AppliesTo():
            for later in policy.groups[index + 1 :]:
                message = f"no Envoy gets to {quoted(later.name)}: {quoted(group.name)} before it takes all of them"
                reader.report_at(f"groups.{later.name}", Code.NO_EFFECT, message, "order matters: put it first")
            return


def check_group(group: Group, path: str, reader: Reader) -> None:
    """What a group may be called."""
    if group.name == DEFAULT_GROUP:
        message = f"the group {quoted(DEFAULT_GROUP)} is always there: it has the Envoys that no other group takes"
        reader.report_at(f"{path}.name", Code.RESERVED_NAME, message, "choose another name")


def check_identities(reader: Reader) -> None:
    """Identities need mTLS on the xDS port, and that is settled elsewhere in the file."""
    if not _may_be_proven(reader):
        for path, group in reader.built:
            if isinstance(group, Group) and group.identities:
                message = f"nothing proves the identities of {quoted(group.name)}: the xDS port is without mTLS"
                hint = f"set `controlPlane.xds.tls.mode: {MUTUAL}`"
                reader.report_at(f"{path}.identities", Code.IDENTITIES_UNPROVEN, message, hint)


def do_groups_meet(one: Listener, other: Listener) -> bool:
    """Whether some Envoy may have both listeners; no groups at all means every group."""
    return not one.groups or not other.groups or not set(one.groups).isdisjoint(other.groups)


def _may_be_proven(reader: Reader) -> bool:
    """Whether the xDS port asks for certificates, or is written down with errors, so that nobody knows."""
    if _PORTS not in reader.marks:
        return False
    ports = [block for path, block in reader.built if path == _PORTS and isinstance(block, ControlPlane)]
    return all(port.xds.tls is not None and port.xds.tls.mode == MUTUAL for port in ports)
