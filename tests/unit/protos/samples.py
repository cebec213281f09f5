"""Messages to try codecs on: resources as Envoy's JSON, and every field of any message class filled in turn."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from protos.messages import TYPE_URL_PREFIX

HTTP = "envoy.extensions.filters.http"
NETWORK = "envoy.extensions.filters.network"


def typed(full_name: str, **fields: object) -> dict[str, object]:
    """An `Any` in JSON."""
    return {"@type": TYPE_URL_PREFIX + full_name, **fields}


def assignment(count: int) -> dict[str, object]:
    """A ClusterLoadAssignment with `count` endpoints."""
    endpoints = [
        {
            "endpoint": {"address": {"socketAddress": {"address": f"10.0.{n // 250}.{n % 250}", "portValue": 8000}}},
            "healthStatus": "HEALTHY" if n % 2 else "DRAINING",
            "loadBalancingWeight": n + 1,
            "metadata": {"filterMetadata": {"envoy.lb": {"gpu": "h100"}}},
        }
        for n in range(count)
    ]
    locality = {"locality": {"region": "us-east", "zone": "a"}, "lbEndpoints": endpoints, "loadBalancingWeight": 1}
    return {"clusterName": "llama", "endpoints": [locality], "policy": {"overprovisioningFactor": 140}}


def listener() -> dict[str, object]:
    """A listener whose connection manager nests Any in Any, with durations, wrappers, enums and maps."""
    filters = [
        {
            "name": "envoy.filters.http.ext_proc",
            "typedConfig": typed(
                f"{HTTP}.ext_proc.v3.ExternalProcessor",
                grpcService={"envoyGrpc": {"clusterName": "picker"}, "timeout": "0.250s"},
                processingMode={"requestHeaderMode": "SKIP", "requestBodyMode": "BUFFERED"},
                requestAttributes=["xds.route_name"],
                failureModeAllow=True,
                messageTimeout="0.250s",
                maxMessageTimeout="30s",
            ),
        },
        {
            "name": "envoy.filters.http.buffer",
            "typedConfig": typed(f"{HTTP}.buffer.v3.Buffer", maxRequestBytes=16_777_216),
        },
        {"name": "envoy.filters.http.router", "typedConfig": typed(f"{HTTP}.router.v3.Router")},
    ]
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "llama", "timeout": "600s"},
        "typedPerFilterConfig": {
            "envoy.filters.http.ext_proc": typed(f"{HTTP}.ext_proc.v3.ExtProcPerRoute", disabled=True)
        },
    }
    manager = typed(
        f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        statPrefix="openai",
        codecType="HTTP1",
        routeConfig={"name": "r", "virtualHosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        httpFilters=filters,
        streamIdleTimeout="60s",
        useRemoteAddress=False,
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}]}
    return {
        "name": "openai",
        "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}},
        "filterChains": [chain],
        "perConnectionBufferLimitBytes": 16_777_216,
    }


def cluster() -> dict[str, object]:
    """A static cluster with an override_host policy around least-request."""
    fallback = {
        "name": "envoy.load_balancing_policies.least_request",
        "typedConfig": typed("envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", choiceCount=2),
    }
    override = typed(
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        overrideHostSources=[
            {"metadata": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint"}]}},
        ],
        fallbackPolicy={"policies": [{"typedExtensionConfig": fallback}]},
    )
    policy = {"name": "envoy.load_balancing_policies.override_host", "typedConfig": override}
    return {
        "name": "llama",
        "type": "STATIC",
        "connectTimeout": "1s",
        "loadAssignment": assignment(3),
        "loadBalancingPolicy": {"policies": [{"typedExtensionConfig": policy}]},
    }


def picker_cluster() -> dict[str, object]:
    """The cluster that the listener's ext_proc filter names."""
    upstream = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicitHttpConfig={"http2ProtocolOptions": {"maxConcurrentStreams": 1000}},
    )
    return {
        "name": "picker",
        "type": "STATIC",
        "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": upstream},
        "loadAssignment": {**assignment(1), "clusterName": "picker"},
    }


def bootstrap() -> dict[str, object]:
    """A whole Envoy: the listener and both clusters, static."""
    return {
        "node": {"id": "n", "cluster": "c", "metadata": {"replica": 1.0, "tags": ["a", "b"], "none": None}},
        "staticResources": {"listeners": [listener()], "clusters": [cluster(), picker_cluster()]},
    }


def processing_request() -> dict[str, object]:
    """The message of the one-message shape."""
    return {
        "requestBody": {"body": "eyJtb2RlbCI6Im0ifQ==", "endOfStream": True},
        "attributes": {"envoy.filters.http.ext_proc": {"xds.route_name": "model-m", "xds.cluster_name": "llama"}},
        "metadataContext": {"filterMetadata": {"kvpilot": {"model": "m", "deep": {"list": [1.0, "a", None, True]}}}},
        "protocolConfig": {"requestBodyMode": "BUFFERED"},
    }


SAMPLES = {
    "envoy.config.endpoint.v3.ClusterLoadAssignment": assignment(100),
    "envoy.config.listener.v3.Listener": listener(),
    "envoy.config.cluster.v3.Cluster": cluster(),
    "envoy.config.bootstrap.v3.Bootstrap": bootstrap(),
    "envoy.service.ext_proc.v3.ProcessingRequest": processing_request(),
}
"""Envoy's JSON by full name, one for each shape that matters most."""


def full_names(files: Iterable[FileDescriptorProto]) -> list[str]:
    """Full names of all messages in `files`: neither package parts nor map entries."""
    return [name for file in files for message in file.message_type for name in _names(message, file.package)]


def _names(message: DescriptorProto, around: str) -> Iterator[str]:
    if message.options.map_entry:
        return
    full_name = f"{around}.{message.name}"
    if message.name[0].isupper():
        yield full_name
    for nested in message.nested_type:
        yield from _names(nested, full_name)


_SCALARS: dict[int, Any] = {
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_BYTES: b"\x00\xff",
    FieldDescriptor.TYPE_DOUBLE: 0.1,
    FieldDescriptor.TYPE_FLOAT: 0.5,
    FieldDescriptor.TYPE_INT32: -7,
    FieldDescriptor.TYPE_INT64: -(2**63),
    FieldDescriptor.TYPE_SINT32: -7,
    FieldDescriptor.TYPE_SINT64: -7,
    FieldDescriptor.TYPE_STRING: "é",
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_UINT64: 2**64 - 1,
}

_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Any": {"type_url": TYPE_URL_PREFIX + "google.protobuf.Empty", "value": b""},
    # Whole microseconds: the pure-Python codec keeps durations as timedelta.
    "google.protobuf.Duration": {"seconds": 3, "nanos": 5000},
    "google.protobuf.Timestamp": {"seconds": 1_700_000_000, "nanos": 5000},
    "google.protobuf.Value": {"string_value": "v"},
}


def filled(kind: type[Message]) -> Iterator[Any]:
    """Messages of `kind` with every field set, so many that each member of each oneof is set in one of them.

    Messages inside are present but empty, well-known ones excepted: each type has its own turn.
    """
    variants = max([1, *(len(oneof.fields) for oneof in kind.DESCRIPTOR.oneofs)])
    for variant in range(variants):
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            if oneof is None or oneof.fields[variant % len(oneof.fields)] is field:
                _fill(message, field)
        yield message


def _fill(message: Any, field: Any) -> None:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(value, field)
    elif field.message_type is not None:
        target = value.add() if field.is_repeated else value
        target.SetInParent()
        for name, part in _WELL_KNOWN.get(field.message_type.full_name, {}).items():
            setattr(target, name, part)
    elif field.is_repeated:
        value.extend([_scalar(field)] * 2)
    else:
        setattr(message, field.name, _scalar(field))


def _fill_map(entries: Any, field: Any) -> None:
    kinds = field.message_type.fields_by_name
    key = _scalar(kinds["key"])
    if kinds["value"].message_type is None:
        entries[key] = _scalar(kinds["value"])
        return
    for name, part in _WELL_KNOWN.get(kinds["value"].message_type.full_name, {}).items():
        setattr(entries[key], name, part)
    entries[key].SetInParent()


def _scalar(field: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return _SCALARS[field.type]
