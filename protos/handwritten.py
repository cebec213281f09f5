"""Descriptors of the few messages that Envoy's Python package lacks: gRPC health checking, ORCA, and our own API.

Sources: the `grpc.health.v1` protocol (gRPC's health-checking document), `xds.data.orca.v3` and `xds.service.orca.v3`
(CNCF xDS). Only names, numbers and types matter on the wire; those are stated here, once. Our own are those of
`protos/load_reports.proto`, which is there for whoever generates a client from it; a test compares.
"""

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

OPTIONAL = FieldDescriptorProto.LABEL_OPTIONAL
REPEATED = FieldDescriptorProto.LABEL_REPEATED

_SERVING_STATUS = {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}

_LOAD_FRACTIONS = {
    "cpu_utilization": 1,
    "mem_utilization": 2,
    "rps_fractional": 6,
    "eps": 7,
    "application_utilization": 9,
}
_HEARTBEAT_COUNTS = {
    "sequence": 2,
    "interval_ms": 3,
    "running": 4,
    "waiting": 5,
    "waiting_tokens": 6,
    "max_running": 7,
    "kv_tokens": 9,
    "block_size": 10,
}
_HEARTBEAT_MAY_BE_ABSENT = ("running", "waiting", "waiting_tokens", "max_running", "kv_usage", "draining")
_HEARTBEAT_NAMES = {"models": 12, "adapters": 13}

_LOAD_MAPS = {"request_cost": 4, "utilization": 5, "named_metrics": 8}


def handwritten_files() -> list[FileDescriptorProto]:
    """The descriptor files to add to the derived ones, in an order in which a pool accepts them."""
    return [_health(), _orca_report(), _orca_service(), _load_reports()]


def map_entry(
    field_name: str, key_type: FieldDescriptorProto.Type.ValueType, value: FieldDescriptorProto
) -> DescriptorProto:
    """The hidden entry message behind a map field, as protoc would declare it; `value` needs its type only."""
    entry = DescriptorProto(name="".join(part[:1].upper() + part[1:] for part in field_name.split("_")) + "Entry")
    entry.field.add(name="key", number=1, type=key_type, label=OPTIONAL)
    entry.field.append(value)
    entry.field[1].name, entry.field[1].number, entry.field[1].label = "value", 2, OPTIONAL
    entry.options.map_entry = True
    return entry


def _file(name: str, package: str, *imports: str) -> FileDescriptorProto:
    return FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)


def _health() -> FileDescriptorProto:
    file = _file("grpc/health/v1/health.proto", "grpc.health.v1")
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type="TYPE_STRING", label=OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    response.field.add(
        name="status",
        number=1,
        type="TYPE_ENUM",
        label=OPTIONAL,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
    )
    status = response.enum_type.add(name="ServingStatus")
    for name, number in _SERVING_STATUS.items():
        status.value.add(name=name, number=number)
    return file


def _orca_report() -> FileDescriptorProto:
    file = _file("xds/data/orca/v3/orca_load_report.proto", "xds.data.orca.v3")
    report = file.message_type.add(name="OrcaLoadReport")
    report.field.add(name="rps", number=3, type="TYPE_UINT64", label=OPTIONAL)
    for name, number in _LOAD_FRACTIONS.items():
        report.field.add(name=name, number=number, type="TYPE_DOUBLE", label=OPTIONAL)
    for name, number in _LOAD_MAPS.items():
        value = FieldDescriptorProto(type=FieldDescriptorProto.TYPE_DOUBLE)
        entry = map_entry(name, FieldDescriptorProto.TYPE_STRING, value)
        report.nested_type.append(entry)
        type_name = f".xds.data.orca.v3.OrcaLoadReport.{entry.name}"
        report.field.add(name=name, number=number, type="TYPE_MESSAGE", label=REPEATED, type_name=type_name)
    return file


def _orca_service() -> FileDescriptorProto:
    file = _file("xds/service/orca/v3/orca.proto", "xds.service.orca.v3", "google/protobuf/duration.proto")
    request = file.message_type.add(name="OrcaLoadReportRequest")
    request.field.add(
        name="report_interval", number=1, type="TYPE_MESSAGE", label=OPTIONAL, type_name=".google.protobuf.Duration"
    )
    request.field.add(name="request_cost_names", number=2, type="TYPE_STRING", label=REPEATED)
    return file


def _load_reports() -> FileDescriptorProto:
    file = _file("kvpilot/load/v1/load_reports.proto", "kvpilot.load.v1")
    names = file.message_type.add(name="Names")
    names.field.add(name="name", number=1, type="TYPE_STRING", label=REPEATED)
    heartbeat = file.message_type.add(name="Heartbeat")
    heartbeat.field.add(name="address", number=1, type="TYPE_STRING", label=OPTIONAL)
    for name, number in _HEARTBEAT_COUNTS.items():
        heartbeat.field.add(name=name, number=number, type="TYPE_UINT64", label=OPTIONAL)
    heartbeat.field.add(name="kv_usage", number=8, type="TYPE_DOUBLE", label=OPTIONAL)
    heartbeat.field.add(name="draining", number=11, type="TYPE_BOOL", label=OPTIONAL)
    for name, number in _HEARTBEAT_NAMES.items():
        type_name = ".kvpilot.load.v1.Names"
        heartbeat.field.add(name=name, number=number, type="TYPE_MESSAGE", label=OPTIONAL, type_name=type_name)
    # 0 is a load like another: what is not told must differ from it (proto3 `optional`, which is a oneof of its own).
    by_name = {field.name: field for field in heartbeat.field}
    for name in _HEARTBEAT_MAY_BE_ABSENT:
        by_name[name].proto3_optional = True
        by_name[name].oneof_index = len(heartbeat.oneof_decl)
        heartbeat.oneof_decl.add(name=f"_{name}")
    acknowledgement = file.message_type.add(name="Ack")
    acknowledgement.field.add(name="sequence", number=1, type="TYPE_UINT64", label=OPTIONAL)
    return file
