"""Whether the contents of certificate files can be used, by the TLS library of Python.

Envoy has another one (BoringSSL), and it may still refuse what passes here; but a key of another certificate, half a
file or a file of another kind never reaches it.
"""

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.policy.jwks import jwks_fault
from control_plane.policy.named_files import Authorities, CertificatePair, NamedFile, Token

MAX_TOKEN_BYTES = 16 * 1024
"""Longer than any token; servers take no header beyond it."""

_KEY_MARK = b"PRIVATE KEY-----"


def fault_of(named: NamedFile, contents: tuple[bytes, ...]) -> str:
    """What is wrong with the contents of the files of `named`, in their order; empty if nothing is."""
    if isinstance(named, CertificatePair):
        return _pair_fault(named, *contents)
    (content,) = contents
    if isinstance(named, Authorities):
        return _authorities_fault(named.file, content)
    if isinstance(named, Token):
        return "" if token_in(content) else f"{named.file}: there is no token in it (one line of printable ASCII)"
    fault = jwks_fault(content.decode("utf-8", "replace"))
    return f"{named.file}: {fault}" if fault else ""


def token_in(content: bytes) -> str:
    """The token that a file holds, without what an editor leaves around it; empty where there is none.

    Printable ASCII without blanks, which is more than RFC 6750 allows (section 2.1) and nothing that breaks a header.
    """
    text = content.strip(b" \t\r\n")
    is_token = len(text) <= MAX_TOKEN_BYTES and re.fullmatch(rb"[!-~]+", text) is not None
    return text.decode("ascii") if is_token else ""


def _pair_fault(named: CertificatePair, certificate: bytes, key: bytes) -> str:
    if b"BEGIN CERTIFICATE" not in certificate:
        return f"{named.certificate}: there is no PEM certificate in it"
    if _KEY_MARK not in key:
        return f"{named.key}: there is no PEM private key in it"
    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except ssl.SSLError as error:
        return _pair_words(named, error)
    except (ValueError, OSError) as error:
        return f"{named.certificate}: {error}"
    return ""


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Lets `context` show this certificate; raises `ssl.SSLError`, `ValueError` or `OSError`."""
    with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
        # A password that is asked for would be read from the terminal; this one fits no key.
        context.load_cert_chain(certificate_path, key_path, password="")


def _pair_words(named: CertificatePair, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{named.key} is not the key of {named.certificate}"
    return f"{named.certificate} with {named.key}: {error.reason or error}"


def _authorities_fault(file: str, content: bytes) -> str:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        # Comments between the certificates may be in any encoding.
        text = content.decode("ascii", "ignore")
    if "BEGIN CERTIFICATE" not in text:
        return f"{file}: there is no PEM certificate in it"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        return f"{file}: {error.reason or error}"
    return ""


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path for what the TLS library only takes from files; in memory where the system can, so no key is written."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as stream:  # readable for this user only
            stream.write(content)
            stream.flush()
            yield stream.name
        return
    descriptor = os.memfd_create("kvpilot-certificate")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def system_authorities() -> bytes:
    """The certificates of the authorities that this machine trusts; raises OSError where there are none."""
    path = ssl.get_default_verify_paths().cafile or ssl.get_default_verify_paths().openssl_cafile
    return Path(path).read_bytes()
