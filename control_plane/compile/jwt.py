"""Tokens: the `jwt_authn` filter of a listener, and the clusters that lead to key servers.

The filter stands first. It puts a token's claims into its metadata under `payload`, where `authorization` finds them.
Whatever token a client sends must be valid; whether it must send one is `required`. Source: Envoy's page "JWT
Authentication", `envoy.extensions.filters.http.jwt_authn.v3`.
"""

from collections.abc import Sequence

from control_plane.compile.materials import Materials
from control_plane.compile.names import statistics_name
from control_plane.compile.tls import jwks_socket
from control_plane.compile.typed import Json, duration, extension
from control_plane.policy.addresses import is_ip
from control_plane.policy.identity import JwtRule
from control_plane.policy.identity_kinds import uri_parts
from control_plane.policy.jwks import NO_KEYS, jwks_fault
from control_plane.policy.model import Listener
from control_plane.policy.named_files import jwks_name

JWT_FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""Where in the filter's metadata the claims are, as in Istio."""

SPACE_DELIMITED_CLAIMS = ("scope", "permission")
"""Claims that hold several words in one text (RFC 8693, section 4.2); rules see a list, as in Istio."""

FETCH_RETRIES = 2
FAILED_REFETCH_S = 5.0
"""How soon keys are asked for again after a failure."""
CONNECT_TIMEOUT_S = 5.0
"""Key servers are far away."""


def jwt_filter(listener: Listener, materials: Materials) -> Json | None:
    """The filter; None where the listener has no JWT rules."""
    if not listener.jwt:
        return None
    providers = {rule.name: _provider(listener.name, rule, materials) for rule in listener.jwt}
    rules = [{"match": {"prefix": "/"}, "requires": _requirement(listener.jwt)}]
    return extension(
        JWT_FILTER,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        {"providers": providers, "rules": rules},
    )


def _requirement(rules: Sequence[JwtRule]) -> Json:
    """A valid token of a required rule, if there is any such rule; and no token of another rule that is not valid."""
    required = [_by(rule) for rule in rules if rule.required]
    optional = [_by(rule) for rule in rules if not rule.required]
    parts = [_one_of(required)] if required else []
    if optional:
        parts.append(_one_of([*optional, {"allowMissing": {}}]))
    return parts[0] if len(parts) == 1 else {"requiresAll": {"requirements": parts}}


def _by(rule: JwtRule) -> Json:
    return {"providerName": rule.name}


def _one_of(requirements: list[Json]) -> Json:
    return requirements[0] if len(requirements) == 1 else {"requiresAny": {"requirements": requirements}}


def _provider(listener: str, rule: JwtRule, materials: Materials) -> Json:
    provider: Json = {
        "issuer": rule.issuer,
        "forward": rule.forward_original_token,
        "payloadInMetadata": PAYLOAD,
        "normalizePayloadInMetadata": {"spaceDelimitedClaims": list(SPACE_DELIMITED_CLAIMS)},
        "clockSkewSeconds": rule.clock_skew_s,
        **_keys(listener, rule, materials),
    }
    if rule.audiences:
        provider["audiences"] = list(rule.audiences)
    if rule.from_headers:
        provider["fromHeaders"] = [
            {"name": header.name, **({"valuePrefix": header.prefix} if header.prefix else {})}
            for header in rule.from_headers
        ]
    if rule.from_params:
        provider["fromParams"] = list(rule.from_params)
    if rule.from_cookies:
        provider["fromCookies"] = list(rule.from_cookies)
    if rule.output_claim_to_headers:
        provider["claimToHeaders"] = [
            {"headerName": item.header, "claimName": item.claim} for item in rule.output_claim_to_headers
        ]
        # Routes that match on such a header have to be looked for again.
        provider["clearRouteCache"] = True
    return provider


def _keys(listener: str, rule: JwtRule, materials: Materials) -> Json:
    if rule.jwks_uri:
        return {
            "remoteJwks": {
                "httpUri": {
                    "uri": rule.jwks_uri,
                    "cluster": jwks_name(listener, rule.name),
                    "timeout": duration(rule.timeout_s),
                },
                "cacheDuration": duration(rule.jwks_refresh_s),
                # In the background, and without holding up the listener: a key server that is down must not keep
                # clients of another issuer out.
                "asyncFetch": {"fastListener": True, "failedRefetchDuration": duration(FAILED_REFETCH_S)},
                "retryPolicy": {"numRetries": FETCH_RETRIES},
            }
        }
    return {"localJwks": {"inlineString": _local_keys(rule, materials)}}


def _local_keys(rule: JwtRule, materials: Materials) -> str:
    """The key set; for a file that is missing or no key set, one that lets nobody in."""
    if rule.jwks:
        return rule.jwks
    content = (materials.get(rule.jwks_file) or b"").decode("utf-8", "replace")
    return NO_KEYS if jwks_fault(content) else content


def jwks_clusters(listener: Listener) -> dict[str, tuple[Json, str]]:
    """Cluster → its resource and the path in the policy that it comes from: one for each `jwksUri`."""
    return {
        jwks_name(listener.name, rule.name): (
            _cluster(listener.name, rule),
            f"listeners.{listener.name}.jwt[{index}].jwksUri",
        )
        for index, rule in enumerate(listener.jwt)
        if rule.jwks_uri
    }


def _cluster(listener: str, rule: JwtRule) -> Json:
    name, server = jwks_name(listener, rule.name), uri_parts(rule.jwks_uri)
    address = {"socketAddress": {"address": server.host, "portValue": server.port}}
    cluster: Json = {
        "name": name,
        "connectTimeout": duration(CONNECT_TIMEOUT_S),
        "loadAssignment": {
            "clusterName": name,
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if is_ip(server.host):
        cluster["type"] = "STATIC"
    else:
        cluster |= {"type": "LOGICAL_DNS", "dnsLookupFamily": "V4_PREFERRED"}
    if "." in name:
        cluster["altStatName"] = statistics_name(name)
    socket = jwks_socket(listener, rule)
    if socket is not None:
        cluster["transportSocket"] = socket
    return cluster


def claim_headers(listener: Listener) -> tuple[str, ...]:
    """Headers that only a verified token may set; what a client sends under these names is removed."""
    names = (item.header for rule in listener.jwt for item in rule.output_claim_to_headers)
    return tuple(dict.fromkeys(names))
