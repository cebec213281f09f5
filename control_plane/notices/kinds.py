"""The kinds of trouble that operators can be told of. Pure.

A new one is a row here, and somebody who yields its conditions (`conditions.py`, or `NoticeLane.watch`).
"""

from dataclasses import dataclass
from typing import Final

INFO: Final = "info"
WARNING: Final = "warning"
CRITICAL: Final = "critical"

SEVERITIES: Final = (INFO, WARNING, CRITICAL)
"""From what is good to know to what wakes somebody."""


def rank(severity: str) -> int:
    """Its place among them; a higher one is worse."""
    return SEVERITIES.index(severity)


@dataclass(frozen=True, slots=True)
class NoticeKind:
    """One kind: `severity` unless a condition says another, and the seconds that it must last before anybody is told.

    `after_s` gathers what happens together into one notice, and is patient with what mends itself.
    """

    name: str
    severity: str
    after_s: float
    doc: str


ENDPOINTS_OUT: Final = "endpoints-out"
REJECTED_PUSH: Final = "rejected-push"
POLICY: Final = "policy"
REMOVAL: Final = "removal"
DISCOVERY: Final = "discovery"
CERTIFICATE: Final = "certificate"
PREDICTION: Final = "prediction"
KV_EVENTS: Final = "kv-events"
GPU_EXPORTER: Final = "gpu-exporter"
INTERNAL_ERROR: Final = "internal-error"
STRATEGY_OFF: Final = "strategy-off"
DRAIN: Final = "drain"
ZONE: Final = "zone"
DEGRADED: Final = "degraded"
TEST: Final = "test"
"""What `kvpilot notify` sends, to every webhook; no policy chooses it."""

KINDS: Final = {
    kind.name: kind
    for kind in (
        NoticeKind(
            ENDPOINTS_OUT,
            WARNING,
            1.0,
            "a share of a pool's endpoints failed and is left alone (`ejectedPercent`); critical when none is left",
        ),
        NoticeKind(REJECTED_PUSH, CRITICAL, 0.0, "an Envoy refused a resource, or one cannot be made"),
        NoticeKind(POLICY, WARNING, 0.0, "what the policy file says is not what is served"),
        NoticeKind(REMOVAL, CRITICAL, 0.0, "discovery found so little that its result is not served"),
        NoticeKind(DISCOVERY, WARNING, 5.0, "a source of endpoints fails; critical while there is none from it"),
        NoticeKind(
            CERTIFICATE, WARNING, 5.0, "a file is missing or unusable, or a certificate ends soon (`expiryWarning`)"
        ),
        NoticeKind(PREDICTION, WARNING, 0.0, "engines do not find in their caches what the picker believes there"),
        NoticeKind(KV_EVENTS, WARNING, 5.0, "an engine's cache events cannot be listened to"),
        NoticeKind(GPU_EXPORTER, WARNING, 30.0, "hardware numbers of endpoints cannot be read (`health.gpu`)"),
        NoticeKind(INTERNAL_ERROR, WARNING, 0.0, "code of kvpilot, or a strategy of your own, failed and cost a pick"),
        NoticeKind(STRATEGY_OFF, CRITICAL, 0.0, "a strategy of your own is so slow that `kv-aware` stands in"),
        NoticeKind(
            DEGRADED,
            WARNING,
            1.0,
            "requests for a model are answered by another pool or model, or refused (`fallback`)",
        ),
        NoticeKind(
            ZONE,
            WARNING,
            1.0,
            "requests go elsewhere than to the nearest place: it fails, is full, or is only just back",
        ),
        NoticeKind(DRAIN, INFO, 0.0, "endpoints of a pool are taken out of service by order"),
    )
}
"""By name, those that a policy can choose."""
