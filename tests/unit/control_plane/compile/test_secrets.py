"""Secrets from files."""

from typing import Any

from control_plane.compile.materials import materials_of
from control_plane.compile.secrets import REDACTED, redacted, secret_resources
from control_plane.policy.model import Policy
from control_plane.policy.security import ListenerTls
from tests.unit.control_plane.compile.samples import compiled, policy

FILES = materials_of({"s.pem": b"certificate", "k.pem": b"key", "c.pem": b"\xff"})


def protected(**fields: Any) -> Policy:
    """A policy whose listener has TLS."""
    settings: dict[str, Any] = {"mode": "SIMPLE", "server_certificate": "s.pem", "private_key": "k.pem"}
    return policy(tls=ListenerTls(**settings | fields))


def test_a_pair_becomes_a_secret() -> None:
    """Under the name of its listener, with its place in the policy."""
    content = {"certificateChain": {"inlineString": "certificate"}, "privateKey": {"inlineString": "key"}}
    assert secret_resources(protected(), FILES) == {
        "listener/openai": (
            {"name": "listener/openai", "tlsCertificate": content},
            "listeners.openai.tls.serverCertificate",
        )
    }


def test_half_a_pair_is_none() -> None:
    """Envoy refuses a certificate without its key: it waits for both."""
    assert secret_resources(protected(), materials_of({"s.pem": b"certificate"})) == {}


def test_what_is_no_text_travels_as_bytes() -> None:
    """JSON has no bytes; comments in a file of authorities may be in any encoding."""
    found = secret_resources(protected(mode="MUTUAL", ca_certificates="c.pem"), FILES)
    assert found["listener/openai/ca"][0]["validationContext"] == {"trustedCa": {"inlineBytes": "/w=="}}


def test_people_see_no_keys() -> None:
    """A redacted snapshot is the same but for the private keys."""
    whole = compiled(protected(), materials=FILES)
    shown: Any = redacted(whole)
    assert shown.secrets["listener/openai"]["tlsCertificate"]["privateKey"] == {"inlineString": REDACTED}
    assert "key" not in str(shown.secrets["listener/openai"]["tlsCertificate"]["privateKey"])
    assert shown.clusters == whole.clusters
    assert whole.secrets["listener/openai"] != shown.secrets["listener/openai"]
