"""What a sidecar is started with: the words of `kvpilot run` and `kvpilot demo`."""

from dataclasses import dataclass
from pathlib import Path

from control_plane.compile import AdsVariant
from ext_proc.core.address import SocketAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How the Envoy that we start ourselves is run."""

    directory: Path
    """Takes its bootstrap, log and process id."""
    template: str
    """The text of `envoy/bootstrap.yaml`."""
    ads: AdsVariant = "delta"
    admin: str = "127.0.0.1:0"
    node_id: str = "kvpilot"
    disposable: bool = False
    """Dies with this process instead of outliving it (a demo's Envoy)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """What `kvpilot run` takes from its command line."""

    policy: Path
    xds: str = "127.0.0.1:18000"
    ext_proc: str = "127.0.0.1:9002"
    admin: str = "127.0.0.1:9909"
    load_reports: str = ""
    """Where engines report their load; empty: nowhere."""
    roles: frozenset[str] = frozenset({"xds", "picker"})
    region: str = ""
    """Where the Envoy stands that this picker serves: its locality failover is the picker's, too."""
    zone: str = ""
    dns: SocketAddress | None = None
    """The name server that discovery asks; None: those of the machine."""
    state_dir: Path | None = None
    """Keeps what outlives a restart; None: nothing does."""
    envoy: EnvoyOptions | None = None
    """None, or without the role `xds`: the Envoy is somebody else's."""
