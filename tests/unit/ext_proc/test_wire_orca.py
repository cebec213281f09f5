"""Load headers in all forms, as senders write them and as nobody should."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.signals.orca import BINARY_HEADER, HEADER, MAX_BYTES
from ext_proc.wire_orca import OrcaWire
from protos.messages import load

WIRE = OrcaWire(load())
METRICS = {"cpu_utilization": 0.5, "named_metrics.kv": 0.25, "utilization.x": 0.125, "request_cost.y": 3.0}


def binary() -> str:
    """A report with `METRICS` in base64."""
    report = load().parse_json(
        "xds.data.orca.v3.OrcaLoadReport",
        {"cpuUtilization": 0.5, "namedMetrics": {"kv": 0.25}, "utilization": {"x": 0.125}, "requestCost": {"y": 3}},
    )
    return base64.b64encode(report.SerializeToString()).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (HEADER, "TEXT cpu_utilization=0.5,named_metrics.kv=0.25,utilization.x=0.125,request_cost.y=3"),
        (HEADER, "text  cpu_utilization=0.5, named_metrics.kv=0.25, utilization.x=.125, request_cost.y=3.0 "),
        (
            HEADER,
            'JSON {"cpu_utilization": 0.5, "named_metrics": {"kv": 0.25}, "utilization": {"x": 0.125}, '
            '"request_cost": {"y": 3}}',
        ),
        (HEADER, f"BIN {binary()}"),
        (HEADER, f"bin {binary().rstrip('=')}"),
        (BINARY_HEADER, binary()),
    ],
)
def test_forms(name: str, value: str) -> None:
    """The same report in each of them."""
    assert WIRE.decode(name, value) == METRICS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (HEADER, ""),
        (HEADER, "cpu_utilization=0.5"),
        (HEADER, "YAML a: 1"),
        (HEADER, "JSON {"),
        (HEADER, "BIN ###"),
        (HEADER, "BIN aaaaa"),
        (HEADER, "BIN ÿÿÿÿ"),
        (BINARY_HEADER, "TEXT a=1"),
        (HEADER, "TEXT " + "a=1," * MAX_BYTES),
    ],
)
def test_garbage(name: str, value: str) -> None:
    """An error that says so."""
    with pytest.raises(ValueError, match=r"."):
        WIRE.decode(name, value)


@given(st.sampled_from([HEADER, BINARY_HEADER]), st.sampled_from(["", "TEXT ", "JSON ", "BIN "]), st.text())
def test_anything(name: str, form: str, rest: str) -> None:
    """Numbers or that error."""
    with suppress(ValueError):
        WIRE.decode(name, form + rest)


@given(st.binary(max_size=200))
def test_any_bytes_in_base64(data: bytes) -> None:
    """Whatever they decode to."""
    with suppress(ValueError):
        WIRE.decode(BINARY_HEADER, base64.b64encode(data).decode())
