"""A model's fallbacks in the words of the picker."""

from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from control_plane.sidecar.picker_settings import picker_settings
from ext_proc.core.settings import CannedSettings, DegradationSettings, PickerSettings, WaySettings

TEXT = """
kvpilot: v1
listeners: [{name: openai, address: "127.0.0.1:8080"}]
models:
  - name: big
    pool: a
    fallback: [{pool: b}, {model: small, features: {tools: off, maxTokens: 9}}]
    degradation:
      when: [unavailable]
      slo: {firstToken: 2s}
      recoverAfter: 30s
      answer: {text: Later., status: 503}
  - {name: small, pool: c}
  - {name: plain, pool: b, fallback: [small]}
rules:
  - {name: strict, pool: a, fallback: []}
  - {name: usual, pool: c}
pools:
  a: {endpoints: [{address: "127.0.0.1:8001"}]}
  b: {endpoints: [{address: "127.0.0.1:8002"}]}
  c: {endpoints: [{address: "127.0.0.1:8003"}]}
"""
A = WaySettings(cluster="pool/a", pool="a", model="big", is_same=True)
B = WaySettings(cluster="pool/b", pool="b", model="big", is_same=True)
C = WaySettings(cluster="pool/c", pool="c", model="small", tools="off", max_tokens=9)


def settings(text: str = TEXT) -> PickerSettings:
    """Those of a policy."""
    document = load(text, "policy.yaml").document
    assert document is not None
    return picker_settings(document.policy, static_fleet(document.policy), document.version)


def test_all_of_it() -> None:
    """Ways in order, those of rules that have their own, triggers, the answer; and the defaults."""
    found = settings().degradations
    by_rule: dict[str, tuple[WaySettings, ...]] = {"rule/strict": ()}
    assert found["big"] == DegradationSettings(
        ways=(A, B, C),
        route_ways=by_rule,
        on_saturation=False,
        slo_ms=2_000.0,
        recover_after_s=30.0,
        answer=CannedSettings(text="Later.", status=503),
    )
    own = WaySettings(cluster="pool/b", pool="b", model="plain", is_same=True)
    other = WaySettings(cluster="pool/c", pool="c", model="small")
    assert found["plain"] == DegradationSettings(ways=(own, other), route_ways=by_rule)
    assert set(found) == {"big", "plain"}
