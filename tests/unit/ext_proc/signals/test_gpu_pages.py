"""Pages of exporters: what they tell of GPUs, which GPUs are whose, and what comes of nonsense."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.gpus import Gpu
from ext_proc.signals.gpu_pages import MAX_BYTES, MAX_GPUS, MAX_LABEL_BYTES, matching, read
from sim import gpu as simulated
from sim.engine import Gauges
from sim.faults import Fault
from tests.unit.ext_proc.signals.pages import oracle

PAGE = (Path(__file__).parents[3] / "data" / "gpus" / "dcgm.prom").read_bytes()
"""In the form of dcgm-exporter 4: four GPUs of a node in Kubernetes, two of them a pod's, one nobody's."""

UUID = "GPU-5a{0}0c1d2-0000-4000-8000-00000000000{0}"


def test_dcgm() -> None:
    """Each GPU with what is told of it; a number that stands for none, and a row that is missing, tell nothing."""
    gpus = {row.gpu.name: row.gpu for row in read(PAGE)}
    assert gpus == {
        UUID.format(0): Gpu(
            name=UUID.format(0),
            temperature=48.0,
            memory_temperature=60.0,
            memory_usage=73403 / 81559,
            utilization=1.0,
            memory_errors=0,
        ),
        UUID.format(1): Gpu(
            name=UUID.format(1),
            recent_xids=(31, 119),
            temperature=51.0,
            memory_temperature=61.0,
            memory_usage=73403 / 81559,
            utilization=0.97,
            memory_errors=2,
        ),
        UUID.format(2): Gpu(name=UUID.format(2), xid=79, memory_temperature=62.0, utilization=0.01, memory_errors=0),
        UUID.format(3): Gpu(
            name=UUID.format(3),
            temperature=44.0,
            memory_temperature=63.0,
            memory_usage=0.0,
            utilization=0.0,
            memory_errors=0,
            is_worn=True,
        ),
    }


def test_the_page_is_one() -> None:
    """Prometheus' own parser reads the same numbers in it."""
    told = {(dict(labels)["UUID"], value) for (name, labels), value in oracle(PAGE).items() if "MEMORY_TEMP" in name}
    assert told == {(row.gpu.name, row.gpu.memory_temperature) for row in read(PAGE)}


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ((), "0123"),
        ((("pod", "llama-0"),), "01"),
        ((("pod", "llama-0"), ("namespace", "chat"), ("gpu", "1")), "1"),
        ((("gpu", "0, 3"),), "03"),
        ((("pod", "llama"),), ""),
        ((("pod", "llama-0"), ("namespace", "other")), ""),
        ((("nobody", ""),), ""),
    ],
)
def test_whose_they_are(match: tuple[tuple[str, str], ...], found: str) -> None:
    """All labels must be as wanted; a value with commas stands for any of its parts."""
    assert [gpu.name for gpu in matching(read(PAGE), match)] == [UUID.format(n) for n in found]


def test_instances() -> None:
    """Two instances (MIG) of one GPU are two."""
    page = "".join(
        f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="GPU-a",GPU_I_ID="{n}",GPU_I_PROFILE="1g"}} 5{n}\n' for n in (3, 4)
    )
    assert [(row.gpu.name, row.gpu.temperature) for row in read(page.encode())] == [
        ("GPU-a/3", 53.0),
        ("GPU-a/4", 54.0),
    ]


@pytest.mark.parametrize("form", ["{}", "[{}]", '{{"gpus": [{}]}}', ' \n{{"node": "a", "gpus": [{}]}}'])
def test_json_forms(form: str) -> None:
    """A list, an object with a list, or one GPU."""
    (row,) = read(form.format(json.dumps({"uuid": "GPU-a", "xid": 79, "pod": "llama-0", "temperature": 61})).encode())
    assert row.gpu == Gpu(name="GPU-a", xid=79, temperature=61.0)
    assert matching([row], (("pod", "llama-0"), ("xid", "79"))) == (row.gpu,)


@pytest.mark.parametrize(
    ("told", "gpu"),
    [
        ({}, Gpu(name="0")),
        ({"index": 3}, Gpu(name="3")),
        ({"name": "a\nb\x1b[31m"}, Gpu(name="a?b?[31m")),
        ({"memory_used": 5, "memory_total": 10}, Gpu(name="0", memory_usage=0.5)),
        ({"memory_used": 5, "memory_total": 0}, Gpu(name="0")),
        ({"memory_used": 5}, Gpu(name="0")),
        ({"utilization": 97}, Gpu(name="0", utilization=0.97)),
        ({"utilization": 0.97}, Gpu(name="0", utilization=0.97)),
        ({"utilization": True, "temperature": "hot", "xid": None, "memory_errors": -1}, Gpu(name="0")),
        ({"temperature": 1e9, "memory_temperature": 0, "xid": 1e9}, Gpu(name="0")),
        ({"xids": [79, "31", -1, None, {}], "memory_errors": 2}, Gpu(name="0", recent_xids=(31, 79), memory_errors=2)),
        ({"xids": 79}, Gpu(name="0")),
        ({"healthy": False, "reason": "the fan stands"}, Gpu(name="0", fault="the fan stands")),
        ({"healthy": False}, Gpu(name="0", fault="it is not healthy")),
        ({"healthy": True, "reason": "none"}, Gpu(name="0")),
        ({"healthy": "false"}, Gpu(name="0")),
    ],
)
def test_json_values(told: dict[str, object], gpu: Gpu) -> None:
    """What is no value is not told."""
    (row,) = read(json.dumps([told]).encode())
    assert row.gpu == gpu


@pytest.mark.parametrize(
    "page",
    [
        b"", b"[]", b'{"gpus": []}', b'{"gpus": {}}', b'{"gpus": [1]}', b"[null]", b"{", b"<html>",
        b"[" * 100_000,
        b"{}", b'{"error": "no driver", "name": "node-1", "reason": "x"}',
        b"DCGM_FI_DEV_XID_ERRORS{" + b'a="1",' * (MAX_LABEL_BYTES // 6) + b'b="1"} 0\n',
        b"[{}]" + b" " * MAX_BYTES,
        b"vllm:num_requests_running 1\n", json.dumps([{}] * (MAX_GPUS + 1)).encode(),
        "".join(f'DCGM_FI_DEV_GPU_TEMP{{gpu="{n}"}} 50\n' for n in range(MAX_GPUS + 1)).encode(),
    ],
)  # fmt: skip
def test_pages_without_gpus(page: bytes) -> None:
    """They are refused, and nothing but that."""
    with pytest.raises(ValueError, match=r".+"):
        read(page)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f'{{"gpus": [{text}]}}'.encode()))
def test_no_page_does_harm(page: bytes) -> None:
    """Whatever it holds."""
    try:
        read(page)
    except ValueError:
        pass


def test_simulated_pods() -> None:
    """Both of their pages tell the same, with and without a fault."""
    gauges = Gauges(running=1)
    for fault, xid, celsius in ((None, 0, simulated.CELSIUS), (Fault("gpu", xid=31, celsius=90.0), 31, 90.0)):
        for page in (simulated.page("pod-1", gauges, fault), simulated.status("pod-1", gauges, fault)):
            (gpu,) = matching(read(page.encode()), (("pod", "pod-1"),))
            assert (gpu.name, gpu.xid, gpu.temperature, gpu.utilization) == ("GPU-pod-1", xid, celsius, 1.0)
            assert gpu.memory_usage == pytest.approx(simulated.USED_SHARE, abs=1e-4)
