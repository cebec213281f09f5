"""What an edit acts on: the parts of a sidecar that a policy decides about."""

from collections.abc import Callable
from dataclasses import dataclass, field

from control_plane.fleet.sources import FleetSources
from control_plane.policy.security import ControlPlane
from control_plane.sidecar.certificates import CertificateFiles
from control_plane.sidecar.history import History
from control_plane.sidecar.picker_lane import PickerLane
from control_plane.sidecar.policy_source import PolicySource
from control_plane.sidecar.slow_loop import SlowLoop
from protos.messages import Messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an edit acts on. Without a control plane there is no `slow_loop`, without a picker no `picker`."""

    source: PolicySource
    sources: FleetSources
    certificates: CertificateFiles
    history: History
    messages: Messages
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    publish: Callable[[], None]
    region: str = ""
    zone: str = ""
    opened: ControlPlane = field(default_factory=ControlPlane)
    """TLS of the ports, as they were opened."""
    ports: frozenset[str] = frozenset()
    """Which of them this process has (`fixed_ports.PORTS`)."""
    slow_loop: SlowLoop | None = None
    picker: PickerLane | None = None
