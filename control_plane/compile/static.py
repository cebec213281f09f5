"""All that was compiled as one static configuration, for an Envoy without a control plane: `envoy --mode validate`."""

import copy
from typing import Any

from control_plane.compile.snapshot import Compiled
from control_plane.compile.static_secrets import with_static_secrets
from control_plane.compile.typed import Json


def static_bootstrap(compiled: Compiled) -> Json:
    """A bootstrap in which what comes by EDS and RDS stands inline; its admin server takes any free port."""
    clusters = []
    for name, resource in compiled.clusters.items():
        cluster: dict[str, Any] = copy.deepcopy(resource)
        # A patch may have made it another kind of cluster.
        if name in compiled.endpoints and cluster.pop("edsClusterConfig", None) is not None:
            cluster |= {"type": "STATIC", "loadAssignment": compiled.endpoints[name]}
        clusters.append(with_static_secrets(cluster, compiled.secrets))
    listeners = []
    for resource in compiled.listeners.values():
        listener: dict[str, Any] = copy.deepcopy(resource)
        _inline_routes(listener, compiled)
        listeners.append(with_static_secrets(listener, compiled.secrets))
    graceful = {"envoy.reloadable_features.ext_proc_graceful_grpc_close": True}
    return {
        "node": {"id": "static", "cluster": "static"},
        "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
        "staticResources": {
            "clusters": clusters,
            "listeners": listeners,
            "secrets": list(compiled.secrets.values()),
        },
        "layeredRuntime": {"layers": [{"name": "static", "staticLayer": graceful}]},
    }


def _inline_routes(listener: Any, compiled: Compiled) -> None:
    """Puts the routes into the connection manager, wherever a patch may have moved it."""
    for chain in listener.get("filterChains", ()):
        for found in chain.get("filters", ()):
            manager = found.get("typedConfig", {})
            name = manager.get("rds", {}).get("routeConfigName")
            if name in compiled.routes:
                del manager["rds"]
                manager["routeConfig"] = compiled.routes[name]
