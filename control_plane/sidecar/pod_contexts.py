"""How kvpilot itself speaks to pods, to read their metrics: TLS as the pool's `tls` says, like Envoy, and a token.

contexts = PodContexts(certificates)
contexts.of("llama-70b")     # None for plain HTTP
"""

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.compile.materials import Materials
from control_plane.policy.model import Policy
from control_plane.policy.security import MUTUAL, PoolTls
from control_plane.sidecar.certificate_checks import load_pair, token_in
from control_plane.sidecar.certificates import CertificateFiles
from ext_proc.signals.pod_tls import PodTls

_MISSING = PodTls(context=None)
"""The pool wants TLS, and its files are not here."""


class PodContexts:
    """Mutable: the contexts made so far, for one policy and one version of the files; both are looked at anew with
    each question, so that a rotation counts at once."""

    def __init__(self, certificates: CertificateFiles) -> None:
        """`certificates` knows the policy that is served and has the files that it names."""
        self._certificates = certificates
        self._made_for: tuple[Policy | None, Materials] | None = None
        self._by_pool: dict[str, PodTls | None] = {}

    def token_of(self, pool: str) -> str | None:
        """The token for the metrics of this pool's pods; empty where none is wanted, None while its file is missing."""
        policy = self._certificates.policy
        scrape = next((one.scrape for one in policy.pools if one.name == pool), None) if policy else None
        return self._token("" if scrape is None else scrape.bearer_token_file)

    def gpu_token_of(self, pool: str) -> str | None:
        """The token for the exporters of this pool's GPUs, as for its metrics."""
        policy = self._certificates.policy
        gpu = next((one.health.gpu for one in policy.pools if one.name == pool), None) if policy else None
        return self._token("" if gpu is None else gpu.bearer_token_file)

    def _token(self, file: str) -> str | None:
        content = self._certificates.materials.get(file) if file else b""
        return None if content is None else token_in(content)

    def of(self, pool: str) -> PodTls | None:
        """What a connection to a pod of this pool needs; None for plain HTTP, and for a pool that nobody knows."""
        policy, materials = self._certificates.policy, self._certificates.materials
        if self._made_for is None or self._made_for[0] is not policy or self._made_for[1] is not materials:
            self._made_for, self._by_pool = (policy, materials), {}
        if pool not in self._by_pool:
            tls = next((one.traffic_policy.tls for one in policy.pools if one.name == pool), None) if policy else None
            self._by_pool[pool] = _pod_tls(tls, materials) if tls and tls.is_on else None
        return self._by_pool[pool]


def _pod_tls(tls: PoolTls, materials: Materials) -> PodTls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Pods are reached by address; their names are looked at below.
    context.check_hostname = False
    if tls.mode == MUTUAL:
        certificate, key = materials.get(tls.client_certificate), materials.get(tls.private_key)
        if certificate is None or key is None:
            return _MISSING
        load_pair(context, certificate, key)
    if tls.insecure_skip_verify:
        context.verify_mode = ssl.CERT_NONE
        return PodTls(context=context, server_name=tls.sni)
    authorities = materials.get(tls.ca_certificates)
    if authorities is None:
        return _MISSING
    context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    if tls.verified_names:
        context.sslobject_class = _named(tls.verified_names)
    return PodTls(context=context, server_name=tls.sni)


def _named(names: Sequence[str]) -> type[ssl.SSLObject]:
    """A connection that ends with the handshake unless the peer has one of these names: nothing is sent before."""

    class Named(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if not has_name(self.getpeercert() or {}, names):
                raise ssl.SSLCertVerificationError("the pod's certificate has none of the names in `subjectAltNames`")

    return Named


def has_name(certificate: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether a certificate (as `ssl` decodes it) has one of `names`, by the rules of `control_plane.compile.tls`."""
    found = certificate.get("subjectAltName", ())
    return any(kind == _kind(name) and _matches(name, value, kind) for name in names for kind, value in found)


def _kind(name: str) -> str:
    if "://" in name:
        return "URI"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP Address"


def _matches(name: str, value: str, kind: str) -> bool:
    if name.endswith("*"):
        return value.startswith(name[:-1])
    if name.startswith("*"):
        return value.endswith(name[1:])
    if kind == "DNS":
        # A certificate for `*.corp` is one for `pod.corp` (RFC 6125, section 6.4.3).
        is_wildcard = value.startswith("*.") and name.partition(".")[2].lower() == value[2:].lower()
        return is_wildcard or name.lower() == value.lower()
    return ipaddress.ip_address(name) == ipaddress.ip_address(value) if kind == "IP Address" else name == value
