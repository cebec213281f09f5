"""Key sets: what Envoy takes, and what it would refuse or forget."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from control_plane.policy.jwks import NO_KEYS, jwks_fault

ENOUGH = 65537


def rsa_key(bits: int = 2048) -> dict[str, Any]:
    """An RSA key."""
    key = rsa.generate_private_key(ENOUGH, bits).public_key()
    return dict(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True))


def ec_key(curve: Any = None) -> dict[str, Any]:
    """A key on a curve."""
    key = ec.generate_private_key(curve or ec.SECP256R1()).public_key()
    return dict(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True))


def okp_key() -> dict[str, Any]:
    """An Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return dict(jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True))


def fault(*keys: object) -> str:
    """What is wrong with a set of these keys."""
    return jwks_fault(json.dumps({"keys": keys}))


def test_good_keys() -> None:
    """Every kind that Envoy verifies with, alone and together."""
    keys = [rsa_key(), ec_key(), ec_key(ec.SECP384R1()), ec_key(ec.SECP521R1()), okp_key(), {"kty": "oct", "k": "AAAA"}]
    assert [fault(key) for key in keys] == [""] * len(keys)
    assert fault(*keys, {**rsa_key(), "alg": "PS512", "kid": "1", "use": "sig"}) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it is no JSON: "),
        ("[]", 'it has no list of "keys"'),
        ('{"keys": {}}', 'it has no list of "keys"'),
        ('{"keys": []}', "it has no key"),
        ('{"keys": [1]}', "key 1: it is no object"),
        ("-----BEGIN PUBLIC KEY-----", "it is no JSON: "),
    ],
)
def test_no_key_set(text: str, expected: str) -> None:
    """Texts of another kind."""
    assert jwks_fault(text).startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kty": "DSA"}, '"kty" is "DSA"; possible: RSA, EC, OKP, oct'),
        ({"kty": None}, '"kty" is null; possible: RSA, EC, OKP, oct'),
        ({"crv": "P-224"}, '"crv" is "P-224"; possible: P-256, P-384, P-521'),
        ({"x": ""}, '"x" is missing'),
        ({"y": None}, '"y" is missing'),
        ({"y": "***"}, '"y" is not base64url'),
        ({"alg": "RS256"}, '"alg" "RS256" does not fit; possible: ES256'),
        ({"alg": 1}, '"alg" and "kid" must be texts'),
        ({"x": "A" * 60}, "its point is too long"),
    ],
)
def test_bad_keys(change: dict[str, object], expected: str) -> None:
    """Each fault in words, with the number of its key: Envoy would only forget the key."""
    assert fault(ec_key(), {**ec_key(), **change}) == f"key 2: {expected}"


def test_other_bad_keys() -> None:
    """Short RSA keys, and curves that Envoy does not know."""
    assert fault({**rsa_key(), "n": "AAAA"}) == "key 1: 0 bits are too few, at least 2048"
    assert fault({**rsa_key(), "e": ""}) == 'key 1: "e" is missing'
    assert fault({**okp_key(), "crv": "X25519"}) == 'key 1: "crv" is "X25519"; possible: Ed25519'
    assert fault({**okp_key(), "x": "AAAA"}) == 'key 1: "x" must have 32 bytes'
    assert fault({"kty": "oct"}) == 'key 1: "k" is missing'
    assert fault({"kty": "oct", "k": "AAAA", "alg": "none"}).startswith('key 1: "alg" "none" does not fit')


def test_the_set_that_lets_nobody_in() -> None:
    """It is a good key set, whose key is a real point and known to nobody."""
    assert jwks_fault(NO_KEYS) == ""
    [key] = json.loads(NO_KEYS)["keys"]
    assert jwt.PyJWK(key).key.public_numbers().curve.name == "secp256r1"
