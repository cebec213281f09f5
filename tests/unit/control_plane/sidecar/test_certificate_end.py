"""When certificates end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from control_plane.sidecar.certificate_end import first_end
from tests.kit.certificates import authority

KEYS = (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048))


def ending(when: datetime, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEYS[0]) -> bytes:
    """A certificate that ends then."""
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime(1990, 1, 1, tzinfo=UTC)).not_valid_after(when)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2199])
@pytest.mark.parametrize("key", KEYS, ids=["ec", "rsa"])
def test_ends(year: int, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Both forms of time that certificates have, and both kinds of keys."""
    when = datetime(year, 2, 28, 23, 59, 58, tzinfo=UTC)
    assert first_end(ending(when, key)) == when


def test_the_first_of_several() -> None:
    """A chain is good as long as all of it is."""
    early, late = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    assert first_end(b"# chain\n" + ending(late) + ending(early)) == early


def test_as_another_reader_says(tmp_path: Path) -> None:
    """What a library that knows all of X.509 reads from a certificate with extensions."""
    pair = authority(tmp_path).pair("pod.corp", "spiffe://corp/a", common_name="pod")
    assert first_end(pair.certificate) == x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
    assert first_end(pair.certificate) > datetime.now(UTC) + timedelta(minutes=30)  # type: ignore[operator]


@given(st.binary(max_size=200), st.integers(0, 300))
def test_anything_else_has_no_end(noise: bytes, cut: int) -> None:
    """Nothing raises: texts of another kind, and certificates that are cut off or damaged."""
    assert first_end(noise) is None
    good = ending(datetime(2030, 1, 1, tzinfo=UTC))
    first_end(good[: len(good) - cut])
    first_end(good.replace(b"M", noise[:1] or b"A"))
