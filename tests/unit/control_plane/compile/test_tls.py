"""Transport sockets; their whole shape is in the golden `security`."""

from typing import Any

import pytest

from control_plane.compile.tls import listener_socket, pool_socket, validation, xds_socket
from control_plane.policy.model import TrafficPolicy
from control_plane.policy.security import EnvoyTls, ListenerTls, PoolTls
from protos.messages import load
from tests.unit.control_plane.compile.samples import listener, pool

LISTENER: dict[str, Any] = {"server_certificate": "s.pem", "private_key": "k.pem"}


def context_of(socket: Any) -> Any:
    """The TLS context of a socket, which its message takes."""
    load().parse_json("envoy.config.core.v3.TransportSocket", socket)
    return socket["typedConfig"]


def test_no_tls_no_socket() -> None:
    """Plain HTTP has Envoy's default socket."""
    assert listener_socket(listener()) is None
    assert pool_socket(pool()) is None
    assert pool_socket(pool(traffic_policy=TrafficPolicy(tls=PoolTls(mode="DISABLE")))) is None


@pytest.mark.parametrize(
    ("mode", "is_required", "is_checked"),
    [("SIMPLE", False, False), ("OPTIONAL_MUTUAL", False, True), ("MUTUAL", True, True)],
)
def test_modes_of_a_listener(mode: str, is_required: bool, is_checked: bool) -> None:
    """Only MUTUAL wants a certificate; both mutual modes check the one that comes."""
    tls = ListenerTls(mode=mode, ca_certificates="c.pem", **LISTENER)
    context = context_of(listener_socket(listener(tls=tls)))
    assert context["requireClientCertificate"] is is_required
    assert ("validationContextSdsSecretConfig" in context["commonTlsContext"]) is is_checked


@pytest.mark.parametrize(
    ("tls", "names"),
    [
        ({"subject_alt_names": ("a", "b"), "sni": "c"}, ["a", "b"]),
        ({"sni": "c"}, ["c"]),
        ({}, []),
    ],
)
def test_names_of_pods(tls: dict[str, Any], names: list[str]) -> None:
    """The names that are given count, else the one that is asked for; without either any of the authority's."""
    socket = pool_socket(pool(traffic_policy=TrafficPolicy(tls=PoolTls(mode="SIMPLE", ca_certificates="c", **tls))))
    common = context_of(socket)["commonTlsContext"]
    checked = common.get("combinedValidationContext", {}).get("defaultValidationContext", {})
    assert [item["matcher"]["exact"] for item in checked.get("matchTypedSubjectAltNames", [])] == names


@pytest.mark.parametrize(
    ("name", "kind", "matcher"),
    [
        ("pod.corp", "DNS", {"exact": "pod.corp"}),
        ("*.corp", "DNS", {"suffix": ".corp"}),
        ("spiffe://corp/ns/*", "URI", {"prefix": "spiffe://corp/ns/"}),
        ("10.0.0.1", "IP_ADDRESS", {"exact": "10.0.0.1"}),
        ("fd00::1", "IP_ADDRESS", {"exact": "fd00::1"}),
    ],
)
def test_kinds_of_names(name: str, kind: str, matcher: dict[str, str]) -> None:
    """A name is compared with names of its own kind only, so that no DNS name passes for a SPIFFE id."""
    found: Any = validation("secret", (name,))
    [item] = found["combinedValidationContext"]["defaultValidationContext"]["matchTypedSubjectAltNames"]
    assert item == {"sanType": kind, "matcher": matcher}


def test_the_bootstrap_reads_files() -> None:
    """The connection that secrets come over cannot wait for secrets."""
    envoy = EnvoyTls(ca_certificates="/c", client_certificate="/p", private_key="/k", sni="kvpilot.corp")
    context = context_of(xds_socket(envoy))
    assert context["sni"] == "kvpilot.corp"
    assert "sds" not in str(context).lower()
    plain = context_of(xds_socket(EnvoyTls(ca_certificates="/c")))["commonTlsContext"]
    assert plain == {"alpnProtocols": ["h2"], "validationContext": {"trustedCa": {"filename": "/c"}}}
