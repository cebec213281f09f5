"""TLS on kvpilot's own ports, as it was when they were opened: an edit cannot switch it on a port that is open.

An edit may name other files, and the port shows the new certificate; but whether there is TLS at all and whether a
client must show a certificate are fixed with the port. Such an edit is applied without that part, so that Envoys are
not told to speak TLS to a plaintext port (each request would go without its pick), and it is warned about.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from control_plane.policy import Diagnostic, Document
from control_plane.policy.codes import Code
from control_plane.policy.declare import yaml_key
from control_plane.policy.model import Policy
from control_plane.policy.security import ControlPlane, LoadReportPort, ServerPort, ServerTls

XDS, EXT_PROC, LOAD_REPORTS = "xds", "ext_proc", "load_reports"
PORTS = (XDS, EXT_PROC, LOAD_REPORTS)
"""Names of `ControlPlane`'s fields."""

PORT_OF_ROLE = {"xds": XDS, "picker": EXT_PROC}
"""Which port a role of `kvpilot run` opens."""


_Port = ServerPort | LoadReportPort


def tls_of(policy: Policy, port: str) -> ServerTls | None:
    """The TLS that a policy wants on a port; None for plaintext."""
    found: _Port = getattr(policy.control_plane, port)
    return found.tls


def as_opened(
    document: Document, opened: ControlPlane, ports: Collection[str] = PORTS
) -> tuple[Document, tuple[Diagnostic, ...]]:
    """`document` with the TLS that `ports` were opened with, where it wants another mode, and a warning for each.

    Ports that are not among `ports` are another process's.
    """
    kept: dict[str, _Port] = {}
    found = []
    for port in ports:
        before: _Port = getattr(opened, port)
        wanted = tls_of(document.policy, port)
        if _mode(wanted) != _mode(before.tls):
            kept[port] = before
            found.append(_warning(document, port, _mode(before.tls), _mode(wanted)))
    if not kept:
        return document, ()
    changes: dict[str, Any] = dict(kept)  # each under the name of its own field
    policy = replace(document.policy, control_plane=replace(document.policy.control_plane, **changes))
    return replace(document, policy=policy), tuple(found)


def _mode(tls: ServerTls | None) -> str:
    return tls.mode if tls else "off"


def _warning(document: Document, port: str, before: str, wanted: str) -> Diagnostic:
    path = f"controlPlane.{yaml_key(port)}.tls"
    message = f"`{path}` stays {_words(before)} instead of {_words(wanted)}: a port gets its TLS when kvpilot starts"
    # A policy without the block: what is missing has no place but the file's beginning.
    return document.finding(path, Code.NEEDS_RESTART, message, "restart kvpilot", file=_first_file(document))


def _first_file(document: Document) -> str:
    return next(iter(document.marks.values())).file


def _words(mode: str) -> str:
    return mode if mode == "off" else f"`{mode}`"
