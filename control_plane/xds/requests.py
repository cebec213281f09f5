"""What goes back and forth on a stream, as plain values: requests in both variants, and what is pushed.

Source: `DiscoveryRequest`, `DeltaDiscoveryRequest` and their responses in envoy.service.discovery.v3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.xds.snapshot import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class SotwRequest:
    """A state-of-the-world request: everything wanted of one type, and the answer to the last response.

    `version` is what the client uses now, `nonce` that of the response it answers, `error` the text of `error_detail`
    or None where that field is absent (the only sign of a NACK).
    """

    type_url: str
    version: str = ""
    nonce: str = ""
    names: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """A delta request: what is wanted from now on and no longer, and maybe the answer to a response.

    `initial_versions` (name to version) is what a reconnecting client still holds; only the first request of a type on
    a stream has it. `error` is the text of `error_detail`, None where absent.
    """

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One response to write. `version` is of all that the client is then meant to hold, `removed` is empty in SotW."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
