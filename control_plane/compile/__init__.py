"""Policy and fleet to Envoy's resources. Pure: no I/O, no clock, no randomness, no logging.

    compiled = compile_snapshot(policy, static_fleet(policy), Services(address), capabilities(node), region="", zone="")
    compiled.clusters["pool/llama-70b"]

Every resource is a dictionary in Envoy's own JSON; `protos.messages` turns it into bytes.
"""

from control_plane.compile.bootstrap import AdsVariant, bootstrap
from control_plane.compile.capability import NEWEST_TESTED, OLDEST_TESTED, Capabilities, Feature, capabilities
from control_plane.compile.names import KVPILOT_CLUSTER, cluster_name, model_route_name
from control_plane.compile.node import Node
from control_plane.compile.services import Services
from control_plane.compile.snapshot import MESSAGE_OF_KIND, Compiled, compile_snapshot, rendered
from control_plane.compile.static import static_bootstrap

__all__ = [
    "KVPILOT_CLUSTER",
    "MESSAGE_OF_KIND",
    "NEWEST_TESTED",
    "OLDEST_TESTED",
    "AdsVariant",
    "Capabilities",
    "Compiled",
    "Feature",
    "Node",
    "Services",
    "bootstrap",
    "capabilities",
    "cluster_name",
    "compile_snapshot",
    "model_route_name",
    "rendered",
    "static_bootstrap",
]
