"""The JSON Schema says the same as the loader about everything that a single value can be."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.policy import json_schema, load, part_schema
from tests.unit.control_plane.policy.json_schema_check import is_valid
from tests.unit.control_plane.policy.samples import FILE, FULL, MINIMAL, with_pool
from tests.unit.control_plane.policy.yaml12 import Yaml12Loader

ROOT = Path(__file__).parents[4]
ENDPOINT = "endpoints: [{address: 10.0.0.1:8000}]\n"


def _agrees(text: str) -> bool:
    """Whether the schema takes a text, given that the loader says the same."""
    schema = json_schema()
    says = is_valid(schema, yaml.load(text, Yaml12Loader), schema)
    errors = [found for found in load(text, FILE).diagnostics if found.severity == "error"]
    assert says == (not errors), errors
    return says


@pytest.mark.parametrize("text", [FULL, MINIMAL], ids=["full", "minimal"])
def test_good_policies(text: str) -> None:
    """What the loader takes is valid in the editor."""
    assert _agrees(text)


def test_part() -> None:
    """One of several files says what it has to say; only what it says is looked at."""
    schema = part_schema()
    assert is_valid(schema, {"kvpilot": "v1", "rules": [{"name": "r", "pool": "a"}]}, schema)
    assert not is_valid(schema, {"rules": [{"name": "r", "pool": "a"}]}, schema)
    assert not is_valid(schema, {"kvpilot": "v1", "rules": [{"name": "r"}]}, schema)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples(path: Path) -> None:
    """So are the examples."""
    assert _agrees(path.read_text())


@pytest.mark.parametrize(
    ("pool", "good"),
    [
        (ENDPOINT + "timeouts: {request: 5s}", True),
        (ENDPOINT + "timeouts: {request: 5}", False),
        (ENDPOINT + "timeouts: {firstByte: auto}", True),
        (ENDPOINT + "timeouts: {firstByte: 1m30s}", True),
        (ENDPOINT + "timeouts: {firstByte: off}", False),
        (ENDPOINT + "timeouts: {reqest: 5s}", False),
        (ENDPOINT + "timeouts:", False),
        (ENDPOINT + "retries: {attempts: 3}", True),
        (ENDPOINT + "retries: {attempts: '3'}", True),
        (ENDPOINT + "retries: {attempts: 3.5}", False),
        (ENDPOINT + "retries: {attempts: 11}", False),
        (ENDPOINT + "retries: {attempts: true}", False),
        (ENDPOINT + "retries: {retryOn: 'reset, 5xx'}", True),
        (ENDPOINT + "retries: {retryOn: 5xy}", False),
        (ENDPOINT + "retries: {retriableStatusCodes: [503, '502']}", True),
        (ENDPOINT + "retries: {retriableStatusCodes: [200]}", False),
        (ENDPOINT + "engine: sglang", True),
        (ENDPOINT + "engine: sglnag", False),
        (ENDPOINT + "picker: {strategy: session}", True),
        (ENDPOINT + "picker: {strategy: fastest}", False),
        (ENDPOINT + "picker: {strategy: acme.cheapest, parameters: [1]}", False),
        (ENDPOINT + "picker: {strategy: session, session: {httpCookieName: sid, hashBalanceFactor: 150}}", True),
        (ENDPOINT + "picker: {strategy: queue-depth, queueDepth: {maximumDepth: 0}}", False),
        (ENDPOINT + "trafficPolicy: {outlierDetection: off}", True),
        (ENDPOINT + "trafficPolicy: {outlierDetection: on}", False),
        (ENDPOINT + "trafficPolicy: {outlierDetection: {maxEjectionPercent: 50%}}", True),
        (ENDPOINT + "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}", True),
        (ENDPOINT + "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: on}}}", False),
        (ENDPOINT + "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: 'true'}}}", True),
        ("endpoints: [{address: 10.0.0.1:1, labels: {a: 1.10, b: true, c: on, d: x}}]", True),
        ("endpoints: [{address: 10.0.0.1:1, labels: {a: }}]", False),
        ("endpoints: [{address: 10.0.0.1:1, labels: {'a b': x}}]", False),
        ("endpoints: [{address: 10.0.0.1:1, zone: 1}]", True),
        ("endpoints: [{address: pod:1}]", False),
        ("endpoints: [{dns: pod:1}]", True),
        ("endpoints: [{dns: pod:1, address: 10.0.0.1:1}]", False),
        ("endpoints: []", False),
        ("endpoints: {}", False),
        ("engine: vllm", False),
    ],
)
def test_pools(pool: str, good: bool) -> None:
    """Editor and loader agree on what a value of a pool can be."""
    assert _agrees(with_pool(pool)) == good


@pytest.mark.parametrize(
    ("model", "good"),
    [
        ("{name: m, pool: chat}", True),
        ("{name: 1.10, pool: chat}", True),
        ("{name: m, route: [{pool: chat, weight: 3}]}", True),
        ("{name: m, pool: chat, route: [{pool: chat}]}", False),
        ("{name: m}", False),
        ("{name: m, route: []}", False),
        ("{name: 'a b', pool: chat}", False),
        ("{name: m, pool: chat, aliases: [a, 4]}", True),
        ("{name: m, pool: chat, aliases: a}", False),
        ("{name: m, pool: chat, fallback: a}", False),
        ("{name: m, pool: chat, fallback: [{model: a, pool: chat}]}", False),
        ("m", False),
    ],
)
def test_models(model: str, good: bool) -> None:
    """The same for models, exactly one of `pool` and `route` included."""
    assert _agrees(MINIMAL.replace("{name: llama, pool: chat}", model)) == good


@pytest.mark.parametrize(
    ("rest", "good"),
    [
        ("", True),
        (", sessionHeader: X-Session", True),
        (", sessionHeader: X-KVPilot-Session", False),
        (", maxRequestBytes: 1MiB", True),
        (", maxRequestBytes: 1000000", False),
        (", picker: {}", True),
        (", picker: {mode: two-message}", True),
        (", picker: {modelFrom: picker}", False),
        (", name: b", False),
    ],
)
def test_listeners(rest: str, good: bool) -> None:
    """The same for listeners; a key that is there twice is for the editor's YAML to find."""
    text = MINIMAL.replace("8080}", f"8080{rest}}}")
    if "name: b" in rest:
        assert load(text, FILE).document is None
    else:
        assert _agrees(text) == good


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "kvpilot: v1", MINIMAL.replace("v1", "v2"), MINIMAL + "rules: {}\n", MINIMAL + "extra: 1\n"],
)
def test_bad_documents(text: str) -> None:
    """The same for the whole."""
    assert not _agrees(text)


def test_every_reference_is_defined() -> None:
    """The schema is closed: what it refers to is in it, and everything in it is used."""
    schema = json_schema()
    used = set(re.findall(r'"#/definitions/(\w+)"', json.dumps(schema)))
    assert used == set(schema["definitions"])


def test_defaults_are_valid() -> None:
    """An editor that fills in a default fills in something valid."""
    schema = json_schema()
    for definition in [schema, *schema["definitions"].values()]:
        properties: dict[str, Any] = definition["properties"]
        for key, one in properties.items():
            if "default" in one and one["default"] != "":
                assert is_valid(one, one["default"], schema), key


def test_committed_copy() -> None:
    """`docs/policy.schema.json` is what `kvpilot schema` prints."""
    committed = (ROOT / "docs" / "policy.schema.json").read_text()
    assert json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n" == committed
