"""Secrets for an Envoy without a control plane."""

from typing import Any

from control_plane.compile import static_bootstrap
from control_plane.compile.materials import NO_MATERIALS, Materials, materials_of
from control_plane.policy.security import ListenerTls
from tests.unit.control_plane.compile.samples import compiled, policy

TLS = ListenerTls(mode="MUTUAL", server_certificate="s", private_key="k", ca_certificates="c")
FILES = materials_of({"s": b"1", "k": b"2", "c": b"3"})


def made(materials: Materials) -> Any:
    """The static resources of a policy with mutual TLS."""
    bootstrap: Any = static_bootstrap(compiled(policy(tls=TLS), materials=materials))
    return bootstrap["staticResources"]


def test_secrets_stand_in_the_bootstrap() -> None:
    """They are referred to by name alone, which Envoy looks up among its own."""
    found = made(FILES)
    assert [secret["name"] for secret in found["secrets"]] == ["listener/openai", "listener/openai/ca"]
    common = found["listeners"][0]["filterChains"][0]["transportSocket"]["typedConfig"]["commonTlsContext"]
    assert common["tlsCertificateSdsSecretConfigs"] == [{"name": "listener/openai"}]
    assert common["validationContextSdsSecretConfig"] == {"name": "listener/openai/ca"}


def test_a_missing_file_takes_its_socket_away() -> None:
    """What else there is can still be shown to Envoy."""
    assert "transportSocket" not in made(NO_MATERIALS)["listeners"][0]["filterChains"][0]
    assert "transportSocket" not in made(materials_of({"s": b"1", "k": b"2"}))["listeners"][0]["filterChains"][0]
