"""What a policy says about load balancing."""

import pytest

from control_plane.policy.declare import settings_of
from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.load_balancing import (
    MAX_TABLE_SIZE,
    ConsistentHash,
    LoadBalancer,
    LocalityLbSetting,
    PrimeNumber,
    Warmup,
)
from tests.unit.control_plane.policy.samples import document, with_pool

ENDPOINT = "endpoints: [{address: 10.0.0.1:8000}]\n"


def _read(settings: str) -> LoadBalancer:
    text = with_pool(f"{ENDPOINT}trafficPolicy: {{loadBalancer: {settings}}}")
    return document(text).policy.pools[0].traffic_policy.load_balancer


def test_istio_words() -> None:
    """The keys are those of Istio's DestinationRule, with what Envoy has beyond it."""
    keys = {
        cls: {setting.key for setting in settings_of(cls)} for cls in (LoadBalancer, ConsistentHash, LocalityLbSetting)
    }
    assert keys[LoadBalancer] >= {"simple", "consistentHash", "warmup", "localityLbSetting"}
    assert keys[ConsistentHash] >= {
        "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev",
    }  # fmt: skip
    assert keys[LocalityLbSetting] >= {"enabled", "failover", "distribute"}


def test_older_key_of_warmup() -> None:
    """Istio's `warmupDurationSecs` is a warmup with nothing but its duration."""
    assert _read("{warmupDurationSecs: 90s}").warmup == Warmup(duration_s=90.0)
    assert _read("{warmup: {duration: 90s, aggression: 1.5, minimumPercent: 5%}}").warmup == Warmup(
        duration_s=90.0, aggression=1.5, minimum_percent=5
    )


def test_headers_are_lower_case() -> None:
    """Envoy's names of headers are."""
    found = _read("{consistentHash: {httpHeaderName: X-Session-Id}}").consistent_hash
    assert found is not None
    assert found.http_header_name == "x-session-id"


def test_sizes_of_tables_are_prime() -> None:
    """Envoy refuses others; the hint is one that it takes, and the largest of all is prime."""
    kind = PrimeNumber(MAX_TABLE_SIZE)
    assert [kind.parse(text) for text in ("2", "251", "65537", str(MAX_TABLE_SIZE))] == [2, 251, 65_537, MAX_TABLE_SIZE]
    with pytest.raises(ValueRefusedError, match="`1000` is not a prime number") as refused:
        kind.parse("1000")
    assert refused.value.hint == "the next one is 1009"
    with pytest.raises(ValueRefusedError):
        kind.parse("1")
    assert kind.schema()["maximum"] == MAX_TABLE_SIZE
    assert "prime" in kind.describe()
    assert "prime" in kind.noun
