"""All that was compiled as one static configuration, for an Envoy without a control plane: `envoy --mode validate`."""

import copy
from typing import Any

from control_plane.compile.snapshot import Compiled
from control_plane.compile.typed import Json


def static_bootstrap(compiled: Compiled) -> Json:
    """A bootstrap in which what comes by EDS and RDS stands inline; its admin server takes any free port."""
    clusters = []
    for name, resource in compiled.clusters.items():
        cluster: dict[str, Any] = copy.deepcopy(resource)
        if name in compiled.endpoints:
            del cluster["edsClusterConfig"]
            cluster |= {"type": "STATIC", "loadAssignment": compiled.endpoints[name]}
        clusters.append(cluster)
    listeners = []
    for name, resource in compiled.listeners.items():
        listener: dict[str, Any] = copy.deepcopy(resource)
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        del manager["rds"]
        manager["routeConfig"] = compiled.routes[name]
        listeners.append(listener)
    graceful = {"envoy.reloadable_features.ext_proc_graceful_grpc_close": True}
    return {
        "node": {"id": "static", "cluster": "static"},
        "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
        "staticResources": {"clusters": clusters, "listeners": listeners},
        "layeredRuntime": {"layers": [{"name": "static", "staticLayer": graceful}]},
    }
