"""What is wrong with the contents of certificate files; most cases are in the tests of the files themselves."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from control_plane.policy.named_files import Authorities, CertificatePair, KeySet, Token
from control_plane.sidecar.certificate_checks import MAX_TOKEN_BYTES, fault_of, system_authorities, token_in
from tests.kit.certificates import Authority, authority

PAIR = CertificatePair("p", "s", "c.pem", "k.pem")
CA = Authorities("p", "s", "ca.pem")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """An authority."""
    return authority(tmp_path)


def test_good_contents(ca: Authority) -> None:
    """A pair, with its intermediates or without, authorities with comments around them, a key set."""
    pair = ca.pair("a.corp")
    assert fault_of(PAIR, (pair.certificate, pair.key)) == ""
    assert fault_of(PAIR, (pair.certificate + ca.pem, pair.key)) == ""
    assert fault_of(CA, ("# ä\n".encode() + ca.pem + ca.pem,)) == ""
    assert fault_of(KeySet("p", "f"), (b'{"keys":[{"kty":"oct","k":"AAAA"}]}',)) == ""


def test_an_encrypted_key(ca: Authority) -> None:
    """It is told and not asked for: there is nobody at a terminal."""
    pair = ca.pair("a.corp")
    key = load_pem_private_key(pair.key, None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    assert fault_of(PAIR, (pair.certificate, encrypted)).startswith("c.pem with k.pem: ")


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (b"abc", "abc"),
        (b" abc=\r\n\n", "abc="),
        (b"", ""),
        (b"\n", ""),
        (b"two words", ""),
        (b"a\nx-evil: 1", ""),
        (b"a\x00", ""),
        ("tökén".encode(), ""),
        (b"x" * (MAX_TOKEN_BYTES + 1), ""),
    ],
)
def test_tokens(content: bytes, token: str) -> None:
    """A token is one word; what could break a header is none, and said to be none."""
    assert token_in(content) == token
    assert (fault_of(Token("p", "file"), (content,)) == "") is bool(token)


def test_swapped_files(ca: Authority) -> None:
    """A key where the certificate belongs is told by name."""
    pair = ca.pair("a.corp")
    assert fault_of(PAIR, (pair.key, pair.certificate)) == "c.pem: there is no PEM certificate in it"
    assert fault_of(CA, (pair.key,)) == "ca.pem: there is no PEM certificate in it"


def test_half_an_authority(ca: Authority) -> None:
    """A file that is cut off is told."""
    assert fault_of(CA, (ca.pem[:200],)).startswith("ca.pem: ")


def test_keys_are_checked_where_there_is_no_memory_file(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems a temporary file takes its place, and is gone afterwards."""
    monkeypatch.delattr(os, "memfd_create")
    pair = ca.pair("a.corp")
    assert fault_of(PAIR, (pair.certificate, pair.key)) == ""
    assert fault_of(PAIR, (pair.certificate, ca.pair("a.corp").key)) == "k.pem is not the key of c.pem"


def test_the_authorities_of_the_machine(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are where the TLS library looks for them, which the environment can change."""
    monkeypatch.setenv("SSL_CERT_FILE", ca.file)
    assert system_authorities() == ca.pem
    gone = str(ca.directory / "gone.pem")
    paths = ssl.DefaultVerifyPaths("", "", "", gone, "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(OSError, match="No such file"):
        system_authorities()
