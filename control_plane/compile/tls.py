"""Transport sockets: TLS towards clients, pods, key servers and kvpilot itself.

Certificates and authorities come by SDS over the ADS stream, so a rotation reaches Envoy without a change of listener
or cluster: connections that are open stay open. Source: Envoy's page "TLS" and
`envoy.extensions.transport_sockets.tls.v3`.
"""

from collections.abc import Sequence

from control_plane.compile.string_matchers import pattern_matcher
from control_plane.compile.typed import Json, extension, from_ads
from control_plane.policy.addresses import is_ip
from control_plane.policy.identity import JwtRule
from control_plane.policy.identity_kinds import uri_parts
from control_plane.policy.model import Listener, Pool
from control_plane.policy.named_files import (
    EXT_PROC_SECRET,
    authorities_secret,
    jwks_name,
    listener_secret,
    pool_secret,
)
from control_plane.policy.security import MUTUAL, SIMPLE, EnvoyTls, ListenerTls

_SOCKET = "envoy.transport_sockets.tls"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_PROTOCOL = {"TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}

DOWNSTREAM_ALPN = ("h2", "http/1.1")
"""Clients choose; without ALPN they would get HTTP/1.1 only."""

GRPC_ALPN = ("h2",)
"""grpc servers refuse a connection that did not agree on HTTP/2; Envoy's health checks offer nothing by themselves."""


def listener_socket(listener: Listener) -> Json | None:
    """The transport socket of a listener's filter chain; None for plain HTTP."""
    tls = listener.tls
    if tls is None:
        return None
    secret = listener_secret(listener.name)
    common: Json = {
        "tlsParams": _parameters(tls),
        "alpnProtocols": list(DOWNSTREAM_ALPN),
        "tlsCertificateSdsSecretConfigs": [sds(secret)],
    }
    if tls.mode != SIMPLE:
        common |= validation(authorities_secret(secret, tls.ca_certificates), tls.subject_alt_names)
    context: Json = {"commonTlsContext": common, "requireClientCertificate": tls.mode == MUTUAL}
    return extension(_SOCKET, f"{_TLS}.DownstreamTlsContext", context)


def _parameters(tls: ListenerTls) -> Json:
    parameters: Json = {
        "tlsMinimumProtocolVersion": _PROTOCOL[tls.min_protocol_version],
        "tlsMaximumProtocolVersion": _PROTOCOL[tls.max_protocol_version],
    }
    if tls.cipher_suites:
        parameters["cipherSuites"] = list(tls.cipher_suites)
    return parameters


def pool_socket(pool: Pool) -> Json | None:
    """The transport socket towards a pool's pods; None for plain HTTP.

    Envoy offers the protocol that the cluster speaks (ALPN) by itself.
    """
    tls = pool.traffic_policy.tls
    if tls is None or not tls.is_on:
        return None
    secret = pool_secret(pool.name)
    common: Json = {}
    if tls.mode == MUTUAL:
        common["tlsCertificateSdsSecretConfigs"] = [sds(secret)]
    if not tls.insecure_skip_verify:
        common |= validation(authorities_secret(secret, tls.ca_certificates), tls.verified_names)
    return _upstream(common, tls.sni)


def ext_proc_socket(envoy: EnvoyTls) -> Json:
    """The transport socket towards the picker's port."""
    common: Json = {
        "alpnProtocols": list(GRPC_ALPN),
        **validation(authorities_secret(EXT_PROC_SECRET, envoy.ca_certificates), envoy.verified_names),
    }
    if envoy.client_certificate:
        common["tlsCertificateSdsSecretConfigs"] = [sds(EXT_PROC_SECRET)]
    return _upstream(common, envoy.sni)


def jwks_socket(listener: str, rule: JwtRule) -> Json | None:
    """The transport socket towards the server of a `jwksUri`; None for http."""
    server = uri_parts(rule.jwks_uri)
    if not server.is_tls:
        return None
    authorities = authorities_secret(jwks_name(listener, rule.name), rule.ca_certificates)
    common = validation(authorities, (server.host,))
    return _upstream(common, "" if is_ip(server.host) else server.host)


def xds_socket(envoy: EnvoyTls) -> Json:
    """The transport socket of a bootstrap towards kvpilot's xDS port, from files on Envoy's machine.

    Envoy reads them once, at its start; by SDS they cannot come, for this is the connection that SDS comes over.
    """
    context: Json = {"trustedCa": {"filename": envoy.ca_certificates}}
    if envoy.verified_names:
        context["matchTypedSubjectAltNames"] = [_subject_name(name) for name in envoy.verified_names]
    common: Json = {"alpnProtocols": list(GRPC_ALPN), "validationContext": context}
    if envoy.client_certificate:
        certificate, key = {"filename": envoy.client_certificate}, {"filename": envoy.private_key}
        common["tlsCertificates"] = [{"certificateChain": certificate, "privateKey": key}]
    return _upstream(common, envoy.sni)


def sds(name: str) -> Json:
    """A secret that comes over the ADS stream."""
    return {"name": name, "sdsConfig": from_ads()}


def validation(secret: str, names: Sequence[str]) -> Json:
    """The part of a TLS context that checks the peer: authorities by SDS, and names that one of must be there."""
    if not names:
        return {"validationContextSdsSecretConfig": sds(secret)}
    default = {"matchTypedSubjectAltNames": [_subject_name(name) for name in names]}
    return {
        "combinedValidationContext": {
            "defaultValidationContext": default,
            "validationContextSdsSecretConfig": sds(secret),
        }
    }


def _subject_name(name: str) -> Json:
    """URI, IP address or DNS name: a name of one kind never matches another kind's."""
    if "://" in name:
        kind = "URI"
    elif is_ip(name):
        kind = "IP_ADDRESS"
    else:
        kind = "DNS"
    return {"sanType": kind, "matcher": pattern_matcher(name)}


def _upstream(common: Json, sni: str) -> Json:
    context: Json = {"commonTlsContext": common}
    if sni:
        context["sni"] = sni
    return extension(_SOCKET, f"{_TLS}.UpstreamTlsContext", context)
