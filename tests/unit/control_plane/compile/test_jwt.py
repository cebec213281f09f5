"""The token filter; its whole shape is in the golden `security`, its behaviour in the conformance tests."""

from typing import Any

import pytest

from control_plane.compile.jwt import claim_headers, jwks_clusters, jwt_filter
from control_plane.compile.materials import NO_MATERIALS, materials_of
from control_plane.policy.identity import ClaimToHeader, JwtRule
from control_plane.policy.jwks import NO_KEYS
from tests.unit.control_plane.compile.samples import listener, manager, policy

KEYS = '{"keys":[{"kty":"oct","k":"AAAA"}]}'


def rule(name: str = "a", **fields: Any) -> JwtRule:
    """A rule with keys in a file."""
    sources = {"jwks", "jwks_uri"} & set(fields)
    return JwtRule(**{"name": name, "issuer": name, **({} if sources else {"jwks_file": "f"}), **fields})


def config(*rules: JwtRule, files: Any = NO_MATERIALS) -> Any:
    """The filter's configuration."""
    found: Any = jwt_filter(listener(jwt=rules), files)
    return found["typedConfig"]


def test_no_rules_no_filter() -> None:
    """A listener without rules has no such filter."""
    assert jwt_filter(listener(), NO_MATERIALS) is None


@pytest.mark.parametrize(
    ("content", "expected"), [(KEYS, KEYS), (None, NO_KEYS), ("nonsense", NO_KEYS), ('{"keys":[]}', NO_KEYS)]
)
def test_keys_from_a_file(content: str | None, expected: str) -> None:
    """A file that is missing or no key set lets nobody in, and Envoy takes the listener all the same."""
    files = NO_MATERIALS if content is None else materials_of({"f": content.encode()})
    assert config(rule(), files=files)["providers"]["a"]["localJwks"] == {"inlineString": expected}


A, B = {"providerName": "a"}, {"providerName": "b"}
MISSING: dict[str, object] = {"allowMissing": {}}


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        ((True,), A),
        ((False,), {"requiresAny": {"requirements": [A, MISSING]}}),
        ((True, True), {"requiresAny": {"requirements": [A, B]}}),
        ((False, False), {"requiresAny": {"requirements": [A, B, MISSING]}}),
        ((True, False), {"requiresAll": {"requirements": [A, {"requiresAny": {"requirements": [B, MISSING]}}]}}),
    ],
)
def test_what_is_required(required: tuple[bool, ...], expected: Any) -> None:
    """One token of those that are required, and no bad one of the others."""
    rules = [rule(name, required=is_required) for name, is_required in zip("ab", required, strict=False)]
    assert config(*rules)["rules"] == [{"match": {"prefix": "/"}, "requires": expected}]


@pytest.mark.parametrize(
    ("uri", "kind", "address", "has_tls"),
    [
        ("https://idp.corp/keys", "LOGICAL_DNS", {"address": "idp.corp", "portValue": 443}, True),
        ("http://idp.corp", "LOGICAL_DNS", {"address": "idp.corp", "portValue": 80}, False),
        ("https://10.0.0.1:8443/", "STATIC", {"address": "10.0.0.1", "portValue": 8443}, True),
        ("https://[::1]/", "STATIC", {"address": "::1", "portValue": 443}, True),
    ],
)
def test_key_servers(uri: str, kind: str, address: dict[str, Any], has_tls: bool) -> None:
    """Each server gets a cluster by its name or address; https ones have TLS with the server's name checked."""
    [(name, (found, path))] = jwks_clusters(listener(jwt=(rule(jwks_uri=uri),))).items()
    cluster: Any = found
    assert (name, path) == ("jwks/openai/a", "listeners.openai.jwt[0].jwksUri")
    [group] = cluster["loadAssignment"]["endpoints"]
    assert (cluster["type"], group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]) == (kind, address)
    assert ("transportSocket" in cluster) is has_tls


def test_claims_in_headers_are_not_forged() -> None:
    """What a client sends under such a name is removed before anything reads it, and routes are looked for again."""
    rules = (rule(output_claim_to_headers=(ClaimToHeader(header="x-tier", claim="tier"),)),)
    assert claim_headers(listener(jwt=rules)) == ("x-tier",)
    assert config(*rules)["providers"]["a"]["clearRouteCache"] is True
    [guard] = manager(policy(jwt=rules))["earlyHeaderMutationExtensions"]
    assert {"remove": "x-tier"} in guard["typedConfig"]["mutations"]


def test_the_filter_stands_first() -> None:
    """Nothing reads a body for somebody whose token is bad."""
    filters = [item["name"] for item in manager(policy(jwt=(rule(),)))["httpFilters"]]
    assert filters[:2] == ["envoy.filters.http.jwt_authn", "envoy.filters.http.json_to_metadata"]
