"""Small pieces of Envoy's JSON: typed `Any`s, extensions, durations, headers, addresses."""

from decimal import Decimal

from ext_proc.core.address import SocketAddress, UnixAddress

TYPE_URL_PREFIX = "type.googleapis.com/"

Json = dict[str, object]
"""A message in Envoy's own JSON (protobuf's JSON mapping, lowerCamelCase keys)."""


def any_of(full_name: str, fields: Json | None = None) -> Json:
    """The JSON of a `google.protobuf.Any` that holds the message `full_name`."""
    return {"@type": TYPE_URL_PREFIX + full_name, **(fields or {})}


def extension(name: str, full_name: str, fields: Json | None = None) -> Json:
    """An extension in the shape that most of Envoy uses: a name and a typed configuration."""
    return {"name": name, "typedConfig": any_of(full_name, fields)}


def duration(seconds: float) -> str:
    """Protobuf's JSON of a duration: `0.25` → `"0.25s"`, never in exponents, nanoseconds at most."""
    text = format(Decimal(str(seconds)).quantize(Decimal("1e-9")), "f")
    return f"{text.rstrip('0').rstrip('.')}s"


def set_header(name: str, value: str) -> Json:
    """Envoy's `HeaderValueOption`: the header is set to this, whatever was there."""
    return {"header": {"key": name, "value": value}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}


def default_header(name: str, value: str) -> Json:
    """Envoy's `HeaderValueOption`: the header is set to this if it is not there."""
    return {"header": {"key": name, "value": value}, "appendAction": "ADD_IF_ABSENT"}


def from_ads() -> Json:
    """Envoy's `ConfigSource` for what comes over the one stream of all discovery."""
    return {"ads": {}, "resourceApiVersion": "V3"}


def socket_address(address: SocketAddress | UnixAddress) -> Json:
    """Envoy's `Address` of a listener or a service."""
    if isinstance(address, UnixAddress):
        return {"pipe": {"path": address.path}}
    return {"socketAddress": {"address": address.host, "portValue": address.port}}
