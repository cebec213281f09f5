"""Which files a policy names, what each is for, and under which name Envoy gets it as a secret."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from control_plane.policy.model import Listener, Policy, Pool
from control_plane.policy.notifications import Webhook
from control_plane.policy.security import MUTUAL, SIMPLE, EnvoyTls, ServerTls

if TYPE_CHECKING:
    from pathlib import PurePath

SYSTEM_AUTHORITIES = ""
"""In place of a file: the authorities that the machine trusts. No file has an empty path."""

SYSTEM_SECRET = "system/ca"
"""The secret of these, shared by all that name no authorities of their own."""

EXT_PROC_SECRET = "kvpilot/ext-proc"
"""What Envoy uses towards the picker's port; its authorities are `kvpilot/ext-proc/ca`."""


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A certificate with its key. `secret` is empty for what kvpilot itself uses."""

    policy_path: str
    secret: str
    certificate: str
    key: str

    @property
    def files(self) -> tuple[str, ...]:
        """Both paths; each is worth nothing without the other."""
        return (self.certificate, self.key)


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates of authorities; the file may be `SYSTEM_AUTHORITIES`."""

    policy_path: str
    secret: str
    file: str

    @property
    def files(self) -> tuple[str, ...]:
        """Its path."""
        return (self.file,)


@dataclass(frozen=True, slots=True)
class KeySet:
    """A JSON Web Key Set."""

    policy_path: str
    file: str

    @property
    def files(self) -> tuple[str, ...]:
        """Its path."""
        return (self.file,)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token that kvpilot itself sends, or a secret URL that it sends to."""

    policy_path: str
    file: str

    @property
    def files(self) -> tuple[str, ...]:
        """Its path."""
        return (self.file,)


NamedFile = CertificatePair | Authorities | KeySet | Token


def named_files(policy: Policy) -> tuple[NamedFile, ...]:
    """All of them, in a stable order; a file that is named twice is here twice."""
    return (
        *_own_port("controlPlane.xds", policy.control_plane.xds.tls, ""),
        *_own_port("controlPlane.extProc", policy.control_plane.ext_proc.tls, EXT_PROC_SECRET),
        *_own_port("controlPlane.loadReports", policy.control_plane.load_reports.tls, ""),
        *(file for listener in policy.listeners for file in _listener(listener)),
        *(file for pool in policy.pools for file in _pool(pool)),
        *(file for webhook in policy.notifications.webhooks for file in _webhook(webhook)),
    )


def listener_secret(listener: str) -> str:
    """The secret of a listener's certificate."""
    return f"listener/{listener}"


def pool_secret(pool: str) -> str:
    """The secret of the certificate that is shown to a pool."""
    return f"pool/{pool}"


def authorities_secret(owner: str, file: str) -> str:
    """The secret of the authorities of a listener, a pool, … whose own secret is `owner`."""
    return SYSTEM_SECRET if file == SYSTEM_AUTHORITIES else f"{owner}/ca"


def jwks_name(listener: str, rule: str) -> str:
    """The cluster through which a listener's Envoy fetches the keys of one of its JWT rules."""
    return f"jwks/{listener}/{rule}"


def resolved(envoy: EnvoyTls, base: "PurePath") -> EnvoyTls:
    """The same with whole paths, for an Envoy that reads the files itself; relative ones start at `base`."""

    def whole(file: str) -> str:
        return str(base / file) if file else ""

    return replace(
        envoy,
        ca_certificates=whole(envoy.ca_certificates),
        client_certificate=whole(envoy.client_certificate),
        private_key=whole(envoy.private_key),
    )


def _own_port(path: str, tls: ServerTls | None, secret: str) -> Iterator[NamedFile]:
    if tls is None:
        return
    yield CertificatePair(f"{path}.tls.serverCertificate", "", tls.server_certificate, tls.private_key)
    if tls.mode == MUTUAL and tls.ca_certificates:
        yield Authorities(f"{path}.tls.caCertificates", "", tls.ca_certificates)
    if tls.envoy is not None and secret:
        yield from _envoy(f"{path}.tls.envoy", tls.envoy, secret)


def _envoy(path: str, envoy: EnvoyTls, secret: str) -> Iterator[NamedFile]:
    if envoy.client_certificate:
        yield CertificatePair(f"{path}.clientCertificate", secret, envoy.client_certificate, envoy.private_key)
    yield Authorities(
        f"{path}.caCertificates", authorities_secret(secret, envoy.ca_certificates), envoy.ca_certificates
    )


def _listener(listener: Listener) -> Iterator[NamedFile]:
    path, tls, secret = f"listeners.{listener.name}", listener.tls, listener_secret(listener.name)
    if tls is not None:
        yield CertificatePair(f"{path}.tls.serverCertificate", secret, tls.server_certificate, tls.private_key)
        if tls.mode != SIMPLE and tls.ca_certificates:
            yield Authorities(
                f"{path}.tls.caCertificates", authorities_secret(secret, tls.ca_certificates), tls.ca_certificates
            )
    for index, rule in enumerate(listener.jwt):
        if rule.jwks_file:
            yield KeySet(f"{path}.jwt[{index}].jwksFile", rule.jwks_file)
        if rule.jwks_uri.startswith("https:"):
            owner = jwks_name(listener.name, rule.name)
            file = rule.ca_certificates
            yield Authorities(f"{path}.jwt[{index}].caCertificates", authorities_secret(owner, file), file)


def _pool(pool: Pool) -> Iterator[NamedFile]:
    if pool.scrape is not None and pool.scrape.bearer_token_file:
        yield Token(f"pools.{pool.name}.scrape.bearerTokenFile", pool.scrape.bearer_token_file)
    if pool.health.gpu is not None and pool.health.gpu.bearer_token_file:
        yield Token(f"pools.{pool.name}.health.gpu.bearerTokenFile", pool.health.gpu.bearer_token_file)
    tls, secret = pool.traffic_policy.tls, pool_secret(pool.name)
    if tls is None or not tls.is_on:
        return
    path = f"pools.{pool.name}.trafficPolicy.tls"
    if tls.mode == MUTUAL and tls.client_certificate:
        yield CertificatePair(f"{path}.clientCertificate", secret, tls.client_certificate, tls.private_key)
    if not tls.insecure_skip_verify:
        yield Authorities(
            f"{path}.caCertificates", authorities_secret(secret, tls.ca_certificates), tls.ca_certificates
        )


def _webhook(webhook: Webhook) -> Iterator[NamedFile]:
    path = f"notifications.webhooks.{webhook.name}"
    if webhook.url_file:
        yield Token(f"{path}.urlFile", webhook.url_file)
    if webhook.bearer_token_file:
        yield Token(f"{path}.bearerTokenFile", webhook.bearer_token_file)
    if webhook.ca_certificates:
        yield Authorities(f"{path}.caCertificates", "", webhook.ca_certificates)
