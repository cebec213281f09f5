"""Addresses of endpoints in Envoy's JSON."""

from control_plane.compile.typed import Json


def pod_address(text: str) -> Json:
    """Envoy's `Address` of an endpoint, `ip:port` or `[v6]:port`.

    The text is not checked again: the policy and the sources did, and the ten thousand addresses of a large pool are
    turned into JSON whenever one of them changes.
    """
    host, _, port = text.rpartition(":")
    return {"socketAddress": {"address": host.strip("[]"), "portValue": int(port)}}
