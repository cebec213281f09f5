"""When a certificate ends, out of its PEM text. Pure.

Python's `ssl` tells this of a peer's certificate only, so the few bytes of DER that lead there are read here
(RFC 5280, section 4.1: Certificate → TBSCertificate → validity → notAfter).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_PIVOT_YEAR = 50
"""A two-digit year below is in this century, else in the last (RFC 5280, section 4.1.2.5.1)."""


def first_end(pem: bytes) -> datetime | None:
    """When the first of the certificates in `pem` ends; None where there is none that can be read."""
    ends = [end for found in _PEM.finditer(pem) if (end := _end(found[1])) is not None]
    return min(ends, default=None)


def _end(encoded: bytes) -> datetime | None:
    try:
        certificate = base64.b64decode(encoded, validate=False)
        (_, outer), *_ = _items(certificate)
        (_, signed), *_ = _items(outer)
        # version (only there if it is not 1), serial number, signature, issuer, validity
        fields = [content for tag, content in _items(signed) if tag != _VERSION]
        _, (tag, text) = _items(fields[3])
        return _time(tag, text.decode("ascii"))
    except (ValueError, IndexError, binascii.Error):
        return None


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a DER sequence as tag and content; raises ValueError or IndexError for what is no DER."""
    while data:
        tag, size, start = data[0], data[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[2:start], "big")
        if start + size > len(data):
            raise ValueError("cut off")
        yield tag, data[start : start + size]
        data = data[start + size :]


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        century = "20" if int(text[:2]) < _PIVOT_YEAR else "19"
    elif tag == _GENERALIZED_TIME:
        century = ""
    else:
        raise ValueError("no time")
    return datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
