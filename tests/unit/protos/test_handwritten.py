"""The messages that Envoy's Python package lacks."""

from importlib.resources import files
from re import DOTALL, MULTILINE, findall

import pytest

from protos.handwritten import REPEATED, handwritten_files
from protos.messages import load


def test_health_check_bytes() -> None:
    """A health question and a SERVING answer have the bytes that gRPC's health protocol prescribes."""
    messages = load()
    question = messages.parse_json("grpc.health.v1.HealthCheckRequest", {"service": "a"})
    answer = messages.parse_json("grpc.health.v1.HealthCheckResponse", {"status": "SERVING"})
    assert (question.SerializeToString(), answer.SerializeToString()) == (b"\x0a\x01a", b"\x08\x01")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("cpu_utilization", 1),
        ("mem_utilization", 2),
        ("rps", 3),
        ("request_cost", 4),
        ("utilization", 5),
        ("rps_fractional", 6),
        ("eps", 7),
        ("named_metrics", 8),
        ("application_utilization", 9),
    ],
)
def test_orca_field_numbers(name: str, number: int) -> None:
    """Each field of an ORCA report has the number that the CNCF xDS definition gives it."""
    fields = load()["xds.data.orca.v3.OrcaLoadReport"].DESCRIPTOR.fields_by_name
    assert fields[name].number == number


def test_orca_report_round_trip() -> None:
    """An ORCA report with maps survives JSON, bytes and JSON again."""
    messages = load()
    value = {"cpuUtilization": 0.5, "rps": "7", "namedMetrics": {"kv_cache_usage": 0.25, "waiting": 3.0}}
    report = messages.parse_json("xds.data.orca.v3.OrcaLoadReport", value)
    again = messages["xds.data.orca.v3.OrcaLoadReport"].FromString(report.SerializeToString())
    assert messages.to_json(again) == value


def test_orca_request_takes_a_duration() -> None:
    """The interval of an out-of-band report stream is a Duration in field 1."""
    request = load().parse_json("xds.service.orca.v3.OrcaLoadReportRequest", {"reportInterval": "1s"})
    assert request.SerializeToString() == b"\x0a\x02\x08\x01"


def test_files_are_in_dependency_order() -> None:
    """No file imports one that comes after it, except protobuf's own."""
    seen: set[str] = set()
    for file in handwritten_files():
        assert all(name in seen or name.startswith("google/protobuf/") for name in file.dependency)
        seen.add(file.name)


def test_load_reports_are_those_of_the_proto_file() -> None:
    """Who generates a client from `load_reports.proto` has the names, numbers, types and presence that we have."""
    text = files("protos").joinpath("load_reports.proto").read_text(encoding="utf-8")
    written = {
        message: {
            (name, int(number), kind, has == "optional ", many == "repeated ")
            for many, has, kind, name, number in findall(
                r"^  (repeated )?(optional )?(\w+) (\w+) = (\d+);", body, MULTILINE
            )
        }
        for message, body in findall(r"^message (\w+) \{(.*?)^\}", text, MULTILINE | DOTALL)
    }
    file = next(file for file in handwritten_files() if file.package == "kvpilot.load.v1")
    kinds = {9: "string", 4: "uint64", 1: "double", 8: "bool", 11: "Names"}
    assert written == {
        message.name: {
            (field.name, field.number, kinds[field.type], field.proto3_optional, field.label == REPEATED)
            for field in message.field
        }
        for message in file.message_type
    }
    assert written["Heartbeat"]
