"""All findings about a file, by the first two tiers of `kvpilot check`."""

from control_plane.compile.findings import findings
from control_plane.policy import Diagnostic, load_bytes
from protos.messages import load as load_messages


def findings_of(data: bytes, file: str) -> tuple[Diagnostic, ...]:
    """What is wrong with a policy, and with what it compiles to."""
    result = load_bytes(data, file)
    if result.document is None:
        return result.diagnostics
    return (*result.diagnostics, *findings(result.document, load_messages()))
