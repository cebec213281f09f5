"""TLS settings: what follows from them."""

import pytest

from control_plane.policy.security import EnvoyTls, PoolTls
from tests.unit.control_plane.policy.samples import MINIMAL, document


@pytest.mark.parametrize(("names", "sni", "expected"), [(("a", "b"), "c", ("a", "b")), ((), "c", ("c",)), ((), "", ())])
def test_names_that_are_verified(names: tuple[str, ...], sni: str, expected: tuple[str, ...]) -> None:
    """Those that are given, else the one that is asked for; without either any."""
    assert PoolTls(mode="SIMPLE", subject_alt_names=names, sni=sni).verified_names == expected
    assert EnvoyTls(ca_certificates="c", subject_alt_names=names, sni=sni).verified_names == expected


@pytest.mark.parametrize(("mode", "expected"), [("DISABLE", False), ("SIMPLE", True), ("MUTUAL", True)])
def test_whether_there_is_tls(mode: str, expected: bool) -> None:
    """DISABLE is Istio's word for none."""
    assert PoolTls(mode=mode).is_on is expected


def test_defaults() -> None:
    """Without a word everything is plain HTTP."""
    policy = document(MINIMAL).policy
    assert policy.listeners[0].tls is None
    assert policy.pools[0].traffic_policy.tls is None
    assert (policy.control_plane.xds.tls, policy.control_plane.ext_proc.tls) == (None, None)
    assert document(MINIMAL.replace("8080}", "8080, tls: off}")).policy.listeners[0].tls is None


def test_tls_1_2_is_the_least() -> None:
    """Older versions are broken; the newest is the default's upper end."""
    tls = "tls: {mode: SIMPLE, serverCertificate: s, privateKey: k}"
    found = document(MINIMAL.replace("8080}", f"8080, {tls}}}")).policy.listeners[0].tls
    assert found is not None
    assert (found.min_protocol_version, found.max_protocol_version) == ("TLSV1_2", "TLSV1_3")
