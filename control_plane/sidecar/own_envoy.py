"""The Envoy that a sidecar starts for itself: what it is told at its start, and where it will listen."""

from collections.abc import Sequence

from control_plane.compile import Node, bootstrap
from control_plane.compile.grouping import group_of, listeners_of
from control_plane.policy.model import Policy
from control_plane.sidecar.certificates import CertificateFiles
from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError
from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
from ext_proc.core.address import SocketAddress, parse_address
from ext_proc.transport.interface import BindError

NODE_CLUSTER = "kvpilot"
"""What our own Envoy says of itself, beside its id."""


def listens_of(options: SidecarOptions, own: EnvoyOptions, policy: Policy) -> list[SocketAddress]:
    """Where it will listen: its group may not have all listeners."""
    node = Node(id=own.node_id, cluster=NODE_CLUSTER, region=options.region, zone=options.zone)
    return [listener.address for listener in listeners_of(policy, group_of(policy, node))]


def envoy_of(
    options: SidecarOptions, own: EnvoyOptions, xds: str, policy: Policy, certificates: CertificateFiles | None
) -> EnvoyProcess:
    """It, not started yet. `xds` is the address of the control plane, and `policy` says how that is spoken to."""
    admin = parse_address(own.admin)
    assert isinstance(admin, SocketAddress)  # the command line offers no other
    tls = policy.control_plane.xds.tls
    return EnvoyProcess(
        own.directory,
        bootstrap(
            bootstrap_template=own.template,
            xds=parse_address(xds),
            node_id=own.node_id,
            node_cluster=NODE_CLUSTER,
            region=options.region,
            zone=options.zone,
            ads=own.ads,
            admin=admin,
            xds_tls=certificates.resolved(tls.envoy) if tls and tls.envoy and certificates else None,
        ),
        disposable=own.disposable,
    )


def start_envoy(envoy: EnvoyProcess, own: EnvoyOptions, listens: Sequence[SocketAddress]) -> None:
    """`EnvoyProcess.start`; raises BindError, and EnvoyUnavailableError for every other reason."""
    try:
        envoy.start(listens)
    except BindError:
        raise
    except OSError as error:
        raise EnvoyUnavailableError(f"cannot start envoy in {own.directory}: {error}") from error
