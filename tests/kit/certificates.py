"""Certificates for tests: an authority of the test's own, and files as an operator would have them."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that writes PEM files into a directory."""

    directory: Path
    ca: trustme.CA
    name: str

    @property
    def file(self) -> str:
        """The path of its own certificate."""
        return str(self.directory / f"{self.name}.pem")

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.ca.cert_pem.bytes()

    def pair(self, *names: str, common_name: str = "") -> Pair:
        """A new certificate for DNS names, IP addresses and URIs; trustme itself knows no URIs."""
        signer = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        issuer = x509.load_pem_x509_certificate(self.pem)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=not subject)
        certificate = builder.sign(signer, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(certificate.public_bytes(Encoding.PEM), private)

    def issue(self, file: str, *names: str, common_name: str = "") -> tuple[str, str]:
        """Writes `<file>.pem` and `<file>-key.pem` for these names; gives their paths."""
        return self.write(file, self.pair(*names, common_name=common_name))

    def write(self, file: str, pair: Pair) -> tuple[str, str]:
        """Writes a pair that was issued before, over what is there."""
        certificate, key = self.directory / f"{file}.pem", self.directory / f"{file}-key.pem"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        return str(certificate), str(key)


def authority(directory: Path, name: str = "ca") -> Authority:
    """A new authority; its certificate is in `<directory>/<name>.pem`."""
    made = Authority(directory, trustme.CA(), name)
    Path(made.file).write_bytes(made.pem)
    return made


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
