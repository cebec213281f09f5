"""What security means for the snapshot as a whole: who is served at all, and what comes along.

An Envoy that cannot protect a listener as the policy says does not get that listener: leaving a filter out, as is done
elsewhere, would open what is meant to be closed.
"""

from collections.abc import Iterable, Mapping, MutableMapping

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.jwt import jwks_clusters
from control_plane.compile.typed import Json
from control_plane.policy.identity import needs_model
from control_plane.policy.model import Listener, Policy, Pool
from control_plane.policy.security import EnvoyTls


def is_securable(listener: Listener, capabilities: Capabilities) -> bool:
    """Whether an Envoy has all that the listener's protection needs."""
    needs = (
        (listener.tls is not None, Feature.TLS),
        (bool(listener.jwt), Feature.TOKENS),
        (bool(listener.authorization), Feature.AUTHORIZATION),
        (needs_model(listener.authorization), Feature.MODEL_ROUTING),
    )
    return all(capabilities.has(feature) for is_needed, feature in needs if is_needed)


def is_reachable(pool: Pool, capabilities: Capabilities) -> bool:
    """Whether an Envoy can speak to the pool's pods as the policy says."""
    tls = pool.traffic_policy.tls
    return tls is None or not tls.is_on or capabilities.has(Feature.TLS)


def key_servers(listeners: Iterable[Listener]) -> dict[str, tuple[Json, str]]:
    """The clusters that the listeners' Envoys fetch token keys from, each with its place in the policy."""
    return {name: found for listener in listeners for name, found in jwks_clusters(listener).items()}


def towards_picker(policy: Policy) -> EnvoyTls | None:
    """What Envoy uses towards the picker's port; None for plaintext.

    TLS there without anything for Envoy means that its operator gives it its own cluster; kvpilot's stays plaintext.
    """
    tls = policy.control_plane.ext_proc.tls
    return None if tls is None else tls.envoy


def told(
    found: Mapping[str, tuple[Json, str]], kind: str, provenance: MutableMapping[tuple[str, str], str]
) -> dict[str, Json]:
    """The resources of `found` alone; their places in the policy are noted in `provenance`."""
    for name, (_, path) in found.items():
        provenance[kind, name] = path
    return {name: resource for name, (resource, _) in found.items()}
