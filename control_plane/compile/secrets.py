"""Secrets for Envoy (SDS): what the policy's certificate files hold, under names from the operator's own.

A secret whose file is missing is left out: Envoy then waits with what needs it, and everything else works.
"""

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from control_plane.compile.materials import Materials
from control_plane.compile.typed import Json
from control_plane.policy.model import Policy
from control_plane.policy.named_files import Authorities, CertificatePair, named_files

if TYPE_CHECKING:
    from control_plane.compile.snapshot import Compiled

REDACTED = "[redacted]"
"""What is shown in place of a private key; Envoy's own admin pages say the same."""


def secret_resources(policy: Policy, materials: Materials) -> dict[str, tuple[Json, str]]:
    """Secret → its resource and the path in the policy that it comes from."""
    found: dict[str, tuple[Json, str]] = {}
    for named in named_files(policy):
        if isinstance(named, CertificatePair) and named.secret:
            resource = _certificate(named, materials)
        elif isinstance(named, Authorities) and named.secret:
            resource = _authorities(named, materials)
        else:
            continue
        if resource is not None:
            found.setdefault(named.secret, (resource, named.policy_path))
    return found


def _certificate(pair: CertificatePair, materials: Materials) -> Json | None:
    certificate, key = materials.get(pair.certificate), materials.get(pair.key)
    if certificate is None or key is None:
        return None
    content = {"certificateChain": _inline(certificate), "privateKey": _inline(key)}
    return {"name": pair.secret, "tlsCertificate": content}


def _authorities(authorities: Authorities, materials: Materials) -> Json | None:
    content = materials.get(authorities.file)
    if content is None:
        return None
    return {"name": authorities.secret, "validationContext": {"trustedCa": _inline(content)}}


def _inline(content: bytes) -> Json:
    # Texts stay readable in a configuration dump; what is no text travels as bytes.
    if content.isascii():
        return {"inlineString": content.decode("ascii")}
    return {"inlineBytes": base64.b64encode(content).decode("ascii")}


def redacted(compiled: "Compiled") -> "Compiled":
    """`compiled` as people may see it: without private keys."""
    return replace(compiled, secrets={name: _without_key(secret) for name, secret in compiled.secrets.items()})


def _without_key(secret: Json) -> Json:
    certificate = secret.get("tlsCertificate")
    if not isinstance(certificate, dict):
        return secret
    return {**secret, "tlsCertificate": {**certificate, "privateKey": {"inlineString": REDACTED}}}
