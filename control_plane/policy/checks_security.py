"""Rules about TLS, tokens and authorization."""

from typing import Any

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.identity import (
    DENY,
    AuthorizationPolicy,
    Condition,
    JwtRule,
    Operation,
    Source,
    needs_certificate,
    needs_token,
)
from control_plane.policy.identity_kinds import REQUEST_PRINCIPAL, IpBlock
from control_plane.policy.jwks import jwks_fault
from control_plane.policy.kinds import ScalarKind, ValueRefusedError
from control_plane.policy.model import Listener
from control_plane.policy.reader import BlockRule, Reader
from control_plane.policy.scalars import Integer
from control_plane.policy.security import (
    MUTUAL,
    SIMPLE,
    ControlPlane,
    EnvoyTls,
    ListenerTls,
    PoolTls,
    ServerTls,
)
from ext_proc.core.address import MAX_PORT

_VALUE_KINDS: dict[str, ScalarKind[Any]] = {
    "source.ip": IpBlock(),
    "remote.ip": IpBlock(),
    "destination.ip": IpBlock(),
    "destination.port": Integer(1, MAX_PORT),
    "request.auth.principal": REQUEST_PRINCIPAL,
}
"""Conditions whose values are no free texts."""


def _listener_tls(tls: ListenerTls, path: str, reader: Reader) -> None:
    _authorities(tls.mode, tls.ca_certificates, path, reader)
    if tls.mode == SIMPLE and tls.subject_alt_names:
        message = "`subjectAltNames` does nothing in the mode `SIMPLE`: clients show no certificate"
        reader.report_at(f"{path}.subjectAltNames", Code.NO_EFFECT, message, "the mode may be `MUTUAL`")
    if tls.min_protocol_version > tls.max_protocol_version:
        message = f"no version is between {tls.min_protocol_version} and {tls.max_protocol_version}"
        reader.report_at(f"{path}.minProtocolVersion", Code.TLS_VERSIONS, message, "swap them")
    elif tls.cipher_suites and tls.min_protocol_version == "TLSV1_3":
        message = "`cipherSuites` does nothing: those of TLS 1.3 are not configurable"
        reader.report_at(f"{path}.cipherSuites", Code.NO_EFFECT, message, "remove it, or allow TLSV1_2")


def _server_tls(tls: ServerTls, path: str, reader: Reader) -> None:
    _authorities(tls.mode, tls.ca_certificates, path, reader)
    if tls.mode == MUTUAL and tls.envoy is not None and not tls.envoy.client_certificate:
        message = "the mode `MUTUAL` asks Envoy for a certificate, and it has none"
        hint = "give `clientCertificate` and `privateKey`"
        reader.report_at(f"{path}.envoy", Code.TLS_FILES, message, hint)


def _authorities(mode: str, file: str, path: str, reader: Reader) -> None:
    if mode == SIMPLE and file:
        message = "`caCertificates` does nothing in the mode `SIMPLE`: clients show no certificate"
        reader.report_at(f"{path}.caCertificates", Code.NO_EFFECT, message, "the mode may be `MUTUAL`")
    elif mode != SIMPLE and not file:
        message = f"the mode `{mode}` needs `caCertificates`: whose certificates are taken"
        reader.report_at(f"{path}.mode", Code.TLS_FILES, message, "name a PEM file with the authorities")


def _pool_tls(tls: PoolTls, path: str, reader: Reader) -> None:
    written = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "subjectAltNames": tls.subject_alt_names,
        "sni": tls.sni,
    }
    if not tls.is_on:
        _useless(written, written, "`{key}` does nothing in the mode `DISABLE`", path, reader)
        return
    if tls.mode == MUTUAL:
        _pair(tls.client_certificate, tls.private_key, f"{path}.mode", reader, "the mode `MUTUAL`")
    else:
        own = ("clientCertificate", "privateKey")
        _useless(written, own, "`{key}` does nothing in the mode `SIMPLE`: only pods show a certificate", path, reader)
    if tls.insecure_skip_verify:
        checks = ("caCertificates", "subjectAltNames")
        _useless(written, checks, "`{key}` does nothing with `insecureSkipVerify`", path, reader)
        message = "any certificate is taken: who is between Envoy and the pod can read and change everything"
        reader.report_at(f"{path}.insecureSkipVerify", Code.UNVERIFIED_PEER, message, "name `caCertificates` instead")
    elif not tls.ca_certificates and not tls.verified_names:
        message = "any certificate of a public authority is taken, whoever it belongs to"
        hint = "name `caCertificates`, or the pods' names in `subjectAltNames`"
        reader.report_at(f"{path}.mode", Code.UNVERIFIED_PEER, message, hint)


def _useless(written: "dict[str, Any]", keys: Any, message: str, path: str, reader: Reader) -> None:
    for key in keys:
        if written[key]:
            reader.report_at(f"{path}.{key}", Code.NO_EFFECT, message.format(key=key), "remove it")


def _envoy_tls(tls: EnvoyTls, path: str, reader: Reader) -> None:
    if tls.client_certificate or tls.private_key:
        _pair(tls.client_certificate, tls.private_key, path, reader, "a certificate")


def _pair(certificate: str, key: str, path: str, reader: Reader, what: str) -> None:
    missing = [name for name, file in (("clientCertificate", certificate), ("privateKey", key)) if not file]
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        reader.report_at(path, Code.TLS_FILES, f"{what} needs {names}", "name PEM files")


def _control_plane(ports: ControlPlane, path: str, reader: Reader) -> None:
    tls = ports.ext_proc.tls
    if tls is not None and tls.envoy is None:
        message = "Envoys are not told how to speak TLS to this port, so that no request would be picked"
        hint = "add `envoy: {caCertificates: …}`, the authorities that this port's certificate comes from"
        reader.report_at(f"{path}.extProc.tls", Code.TLS_FILES, message, hint)
    tls = ports.load_reports.tls
    if tls is not None and tls.envoy is not None:
        message = "no Envoy comes to this port: `envoy` does nothing"
        reader.report_at(f"{path}.loadReports.tls.envoy", Code.NO_EFFECT, message, "remove it")


def _jwt_rule(rule: JwtRule, path: str, reader: Reader) -> None:
    given = [(key, value) for key, value in _key_sources(rule) if value]
    if not given:
        keys = ", ".join(f"`{key}`" for key, _ in _key_sources(rule))
        reader.report_at(path, Code.MISSING_KEY, f"one of {keys} is missing", "where are the issuer's public keys?")
    for key, _ in given[1:]:
        message = f"`{given[0][0]}` and `{key}` say the same in two ways"
        reader.report_at(f"{path}.{key}", Code.EXCLUSIVE_KEYS, message, "keep one of them")
    fault = jwks_fault(rule.jwks) if rule.jwks else ""
    if fault:
        reader.report_at(f"{path}.jwks", Code.BAD_KEY_SET, f"Envoy cannot use this key set: {fault}")
    if rule.ca_certificates and not rule.jwks_uri.startswith("https:"):
        message = "`caCertificates` does nothing without an https `jwksUri`"
        reader.report_at(f"{path}.caCertificates", Code.NO_EFFECT, message, "remove it")


def _key_sources(rule: JwtRule) -> tuple[tuple[str, str], ...]:
    return (("jwks", rule.jwks), ("jwksFile", rule.jwks_file), ("jwksUri", rule.jwks_uri))


def _authorization(policy: AuthorizationPolicy, path: str, reader: Reader) -> None:
    if policy.action == DENY and not policy.rules:
        message = f"{quoted(policy.name)} denies nothing: it has no rules"
        reader.report_at(path, Code.NO_EFFECT, message, "`rules: [{}]` denies everything")


def _not_empty(block: Source | Operation, path: str, reader: Reader) -> None:
    if block == type(block)() and not reader.has_errors:  # a key that could not be read may be why it is empty
        message = "this is about nothing in particular, so that it matches everything"
        reader.report_at(path, Code.MISSING_KEY, message, "say what it is about, or leave the whole list out")


def _condition(condition: Condition, path: str, reader: Reader) -> None:
    if not condition.values and not condition.not_values:
        message = f"the condition on {quoted(condition.key)} compares with nothing"
        reader.report_at(path, Code.MISSING_KEY, message, 'give `values` or `notValues`; `["*"]` is: present')
    kind = _VALUE_KINDS.get(condition.key)
    if kind is None:
        return
    for key, values in (("values", condition.values), ("notValues", condition.not_values)):
        for index, value in enumerate(values):
            try:
                kind.parse(value)
            except ValueRefusedError as refused:
                reader.report_at(f"{path}.{key}[{index}]", refused.code, refused.message, refused.hint)


def _listener(listener: Listener, path: str, reader: Reader) -> None:
    _distinct([rule.name for rule in listener.jwt], f"{path}.jwt", "JWT rule", reader)
    _distinct([policy.name for policy in listener.authorization], f"{path}.authorization", "policy", reader)
    if needs_token(listener.authorization) and not listener.jwt:
        message = "rules here look at a token, but no token is ever verified on this listener"
        reader.report_at(f"{path}.authorization", Code.NO_EFFECT, message, "add `jwt`")
    if needs_certificate(listener.authorization) and (listener.tls is None or listener.tls.mode == SIMPLE):
        message = "rules here look at the client's certificate, but no client shows one on this listener"
        reader.report_at(f"{path}.authorization", Code.NO_EFFECT, message, "set `tls.mode: MUTUAL`")


def _distinct(names: list[str], path: str, noun: str, reader: Reader) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"a second {noun} of this listener is named {quoted(name)}"
            reader.report_at(f"{path}[{index}].name", Code.DUPLICATE_NAME, message, "choose another name")


SECURITY_RULES: dict[type, tuple[BlockRule, ...]] = {
    Listener: (_listener,),
    ListenerTls: (_listener_tls,),
    PoolTls: (_pool_tls,),
    EnvoyTls: (_envoy_tls,),
    ServerTls: (_server_tls,),
    ControlPlane: (_control_plane,),
    JwtRule: (_jwt_rule,),
    AuthorizationPolicy: (_authorization,),
    Source: (_not_empty,),
    Operation: (_not_empty,),
    Condition: (_condition,),
}
"""Kind of block → rules about one such block."""
