"""Whether a text is a JSON Web Key Set that Envoy takes.

Envoy refuses the whole listener for a set without a usable key, and silently forgets single keys that it cannot read.
So every key is looked at here first, by the rules of RFC 7517 and 7518 and those of Envoy's `jwt_verify_lib`.
"""

import base64
import binascii
import json
from collections.abc import Mapping

_CURVES = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
"""Curve → the only algorithm for it, and the bytes of a coordinate (RFC 7518, sections 3.4 and 6.2.1)."""
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")

MIN_RSA_BITS = 2048
"""Shorter keys are broken or nearly so."""

NO_KEYS = (
    '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"kvpilot-none",'
    '"x":"0etAakYwY2vtOZQc73fDklMNXChEFCa0ZegAuAtPKvM","y":"2KPdSrg1DFfMK8bvikrntVabzVZjgA9T6NwxxqEuon0"}]}'
)
"""A key set that no token can satisfy, for a file that is missing: Envoy takes no empty set, and requests must be
refused and not let through. Its point has the SHA-256 of `kvpilot: nobody holds this key 1` as x, so that nobody can
know its private key."""


def jwks_fault(text: str) -> str:
    """What is wrong with a key set; empty if nothing is."""
    try:
        document = json.loads(text)
    except ValueError as error:
        return f"it is no JSON: {error}"
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list):
        return 'it has no list of "keys"'
    if not keys:
        return "it has no key"
    for index, key in enumerate(keys):
        fault = _key_fault(key) if isinstance(key, Mapping) else "it is no object"
        if fault:
            return f"key {index + 1}: {fault}"
    return ""


def _key_fault(key: Mapping[str, object]) -> str:
    if not isinstance(key.get("alg", ""), str) or not isinstance(key.get("kid", ""), str):
        return '"alg" and "kid" must be texts'
    kind = key.get("kty")
    if kind == "RSA":
        return _rsa_fault(key)
    if kind == "EC":
        return _ec_fault(key)
    if kind == "OKP":
        return _okp_fault(key)
    if kind == "oct":
        return _bytes_fault(key, "k") or _algorithm_fault(key, _HMAC_ALGORITHMS)
    return f'"kty" is {json.dumps(kind)}; possible: RSA, EC, OKP, oct'


def _rsa_fault(key: Mapping[str, object]) -> str:
    fault = _bytes_fault(key, "n") or _bytes_fault(key, "e") or _algorithm_fault(key, _RSA_ALGORITHMS)
    if fault:
        return fault
    bits = int.from_bytes(_bytes(key["n"]), "big").bit_length()
    return f"{bits} bits are too few, at least {MIN_RSA_BITS}" if bits < MIN_RSA_BITS else ""


def _ec_fault(key: Mapping[str, object]) -> str:
    curve = _CURVES.get(str(key.get("crv")))
    if curve is None:
        return f'"crv" is {json.dumps(key.get("crv"))}; possible: {", ".join(_CURVES)}'
    algorithm, size = curve
    fault = _bytes_fault(key, "x") or _bytes_fault(key, "y") or _algorithm_fault(key, (algorithm,))
    if fault:
        return fault
    return "" if len(_bytes(key["x"])) <= size and len(_bytes(key["y"])) <= size else "its point is too long"


def _okp_fault(key: Mapping[str, object]) -> str:
    if key.get("crv") != "Ed25519":
        return f'"crv" is {json.dumps(key.get("crv"))}; possible: Ed25519'
    fault = _bytes_fault(key, "x") or _algorithm_fault(key, ("EdDSA",))
    if fault:
        return fault
    return "" if len(_bytes(key["x"])) == 32 else '"x" must have 32 bytes'


def _algorithm_fault(key: Mapping[str, object], known: tuple[str, ...]) -> str:
    algorithm = key.get("alg")
    return (
        ""
        if algorithm in (None, *known)
        else f'"alg" {json.dumps(algorithm)} does not fit; possible: {", ".join(known)}'
    )


def _bytes_fault(key: Mapping[str, object], name: str) -> str:
    try:
        return "" if _bytes(key.get(name)) else f'"{name}" is missing'
    except (ValueError, binascii.Error):
        return f'"{name}" is not base64url'


def _bytes(value: object) -> bytes:
    """Base64url without padding (RFC 7515, section 2); nothing for what is no text."""
    if not isinstance(value, str) or not value:
        return b""
    padded = value + "=" * (-len(value) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)
