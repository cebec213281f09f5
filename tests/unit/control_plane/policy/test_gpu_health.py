"""`pools.NAME.health.gpu`."""

import re

import pytest

from control_plane.policy import load
from control_plane.policy.gpu_health import FATAL_XIDS, EndpointText, GpuHealth
from tests.unit.control_plane.policy.test_endpoint_health import health, with_pool


def test_everything() -> None:
    """All keys of it; without the key nobody looks, with an empty one at the usual numbers."""
    assert health("engine: vllm").gpu is None
    assert health("health: {gpu: {}}").gpu == GpuHealth()
    found = health(
        "health: {gpu: {url: 'https://{host}:9400/m', match: {pod: a}, interval: 1s, timeout: 500ms, "
        "bearerTokenFile: t, fatalXids: [79, 48], maxTemperature: 80, maxMemoryTemperature: 90, maxMemoryUsage: 95%, "
        "maxUtilization: 99}}"
    )
    assert found.gpu == GpuHealth(
        url="https://{host}:9400/m",
        match={"pod": "a"},
        interval_s=1.0,
        timeout_s=0.5,
        bearer_token_file="t",
        fatal_xids=(79, 48),
        max_temperature=80,
        max_memory_temperature=90,
        max_memory_usage=95,
        max_utilization=99,
    )


def test_off() -> None:
    """Each input by itself."""
    gpu = health("health: {gpu: {fatalXids: [], maxTemperature: off, maxMemoryTemperature: off}}").gpu
    assert gpu is not None
    limits = (gpu.max_temperature, gpu.max_memory_temperature, gpu.max_memory_usage, gpu.max_utilization)
    assert (gpu.fatal_xids, *limits) == ((), None, None, None, None)


def test_which_errors_are_fatal() -> None:
    """Those of hardware; neither a program's own, nor those that end one program, nor notes."""
    assert {48, 64, 74, 79, 95, 119} <= set(FATAL_XIDS)
    assert not {13, 31, 43, 45, 63, 94} & set(FATAL_XIDS)


@pytest.mark.parametrize(
    ("more", "at", "code"),
    [
        ("url: 'ftp://{host}/'", "'ftp", "KP206"),
        ("url: '{host}:9400'", "'{host", "KP206"),
        ("url: 'http://user@{host}/'", "'http", "KP206"),
        ("url: 'http://{hosts}:9400/'", "'http", "KP206"),
        ("url: 'http://{host:9400/'", "'http", "KP206"),
        ("url: 'http://{label.node}:9400/'", "'http", "KP902"),
        ("match: {pod: '{label.pod}'}", "'{label", "KP902"),
        ("match: {a-b: x}", "a-b", "KP206"),
        ("match: {pod: '{pod}'}", "'{pod}", "KP206"),
        ("interval: 1ms", "1ms", "KP207"),
        ("fatalXids: [0]", "0]", "KP207"),
        ("fatalXids: 79", "79", "KP204"),
        ("maxTemperature: 500", "500", "KP207"),
        ("maxMemoryUsage: 0", "0}", "KP207"),
        ("maxUtilization: 0%", "0%", "KP207"),
        ("port: 9400", "port", "KP201"),
    ],
)
def test_findings(more: str, at: str, code: str) -> None:
    """Each at its place."""
    text = with_pool(f"health: {{gpu: {{{more}}}}}")
    (found,) = load(text, "p.yaml").diagnostics
    line = text.splitlines()[found.line - 1]
    assert (str(found.code), line[found.column - 1 :].startswith(at)) == (code, True), found


def test_labels_that_some_endpoint_has() -> None:
    """Are fine, and where endpoints are discovered any may be."""
    text = with_pool("health: {gpu: {url: 'http://{label.node}:9400/metrics'}}")
    labelled = text.replace("8000}]", "8000, labels: {node: n1}}]")
    discovered = text.replace("8000}]", "8000}, {dns: pods.internal:8000}]")
    assert [load(each, "p.yaml").diagnostics for each in (labelled, discovered)] == [(), ()]


def test_gpus_that_several_endpoints_have() -> None:
    """One node, two engines, and nobody says which GPUs are whose: a warning at the block. Labels tell them apart, and
    so do pages of their own."""

    def codes(gpu: str, endpoints: str = "10.0.0.1:8000}, {address: 10.0.0.1:8001}") -> list[str]:
        text = with_pool(f"health: {{gpu: {gpu}}}").replace("10.0.0.1:8000}", endpoints)
        return [f"{found.code} {found.message}" for found in load(text, "p.yaml").diagnostics]

    (found,) = codes("{}")
    assert found == (
        "KP910 2 endpoints (`10.0.0.1:8000`, `10.0.0.1:8001`) are judged by all GPUs of "
        "`http://10.0.0.1:9400/metrics`: one that fails takes them all out"
    )
    apart = "10.0.0.1:8000, labels: {gpus: a}}, {address: 10.0.0.1:8001, labels: {gpus: b}}"
    assert codes("{match: {gpu: '{label.gpus}'}}", apart) == []
    assert codes("{url: 'http://{host}:{port}/gpu-status'}") == []
    assert codes("{}", "10.0.0.1:8000}, {address: 10.0.0.2:8000}") == []


@pytest.mark.parametrize(
    "text", ["http://{host}:9400/metrics", "https://[::1]:1/a?b=c", "http://{label.a/b}/", "http://a b"]
)
def test_the_schema_says_the_same(text: str) -> None:
    """An editor marks what would be refused."""
    kind = EndpointText(is_url=True)
    is_fine = re.search(kind.schema()["pattern"], text) is not None
    try:
        kind.parse(text)
    except Exception:
        assert not is_fine
    else:
        assert is_fine
