"""The file an Envoy starts from: where its control plane is, and nothing that the control plane can push later."""

import re
from typing import Any, Literal

import yaml

from control_plane.compile.tls import xds_socket
from control_plane.compile.typed import Json, socket_address
from control_plane.policy.security import EnvoyTls
from ext_proc.core.address import SocketAddress, UnixAddress

XDS_CLUSTER = "kvpilot-xds"
"""The static cluster of the bootstrap that leads to the control plane."""

AdsVariant = Literal["delta", "sotw"]

_API_TYPES: dict[AdsVariant, str] = {"delta": "DELTA_GRPC", "sotw": "GRPC"}


def bootstrap(
    *,
    bootstrap_template: str,
    xds: SocketAddress | UnixAddress,
    node_id: str,
    node_cluster: str,
    region: str,
    zone: str,
    ads: AdsVariant,
    admin: SocketAddress,
    xds_tls: EnvoyTls | None = None,
) -> Json:
    """The bootstrap for one Envoy, made from the text of `envoy/bootstrap.yaml` (which says why each line is there).

    With `xds_tls` it speaks TLS to the control plane; its files are read by Envoy, at Envoy's start.
    Raises `ValueError` when the template is not the YAML that this expects.
    """
    document = yaml.safe_load(bootstrap_template)
    try:
        document["node"] = {"id": node_id, "cluster": node_cluster}
        locality = {name: value for name, value in (("region", region), ("zone", zone)) if value}
        if locality:
            document["node"]["locality"] = locality
        document["admin"]["address"] = _in_snake_case(socket_address(admin))
        document["dynamic_resources"]["ads_config"]["api_type"] = _API_TYPES[ads]
        (cluster,) = (found for found in document["static_resources"]["clusters"] if found["name"] == XDS_CLUSTER)
        (group,) = cluster["load_assignment"]["endpoints"]
        group["lb_endpoints"] = [{"endpoint": {"address": _in_snake_case(socket_address(xds))}}]
        if xds_tls is not None:
            cluster["transport_socket"] = _in_snake_case(xds_socket(xds_tls))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the bootstrap template lacks {error}") from error
    result: Json = document
    return result


def _in_snake_case(value: Any) -> Any:
    """The template's spelling of keys: Envoy reads both, people had rather read one."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key): _in_snake_case(v) for key, v in value.items()
        }
    return [_in_snake_case(item) for item in value] if isinstance(value, list) else value
