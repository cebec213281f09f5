"""What became of the policy: for status, metrics and readiness."""

from dataclasses import dataclass

from control_plane.policy import Diagnostic

APPLIED = "applied"
REJECTED = "rejected"
"""The last edit has errors, or cannot be compiled."""
REFUSED = "refused"
"""The last edit would take away too much (`control_plane.xds.guard`)."""
ROLLING_OUT = "rolling-out"
"""The last edit is with the groups that go first."""
ROLLED_BACK = "rolled-back"
"""Envoys refused the last edit, or the operator took it back."""

FROM_FILE = "file"
FROM_LAST_GOOD = "last-good"
"""The file was bad at the start, or its version had been rolled back: what is served was kept from before."""
FROM_HISTORY = "history"
"""The operator went back to an earlier version."""


@dataclass(slots=True)
class PolicyState:
    """The last edit's fate. Mutable: written by `Edits` alone."""

    version: str
    """Version of the newest policy that is served, whatever became of the last edit."""
    state: str = APPLIED
    """What became of the last edit, one of the words above."""
    source: str = FROM_FILE
    diagnostics: tuple[Diagnostic, ...] = ()
    error: str = ""
    """Why an edit without errors of its own is not served, or not everywhere."""
    fleet_error: str = ""
    """Why the last result of discovery is not served."""
    file_error: str = ""
    """Why the file cannot be read any more; what it said last goes on."""
    history_error: str = ""
    """Why what is served cannot be kept for a restart."""
    reloads_applied: int = 0
    reloads_rejected: int = 0
    applied_at: float = 0.0
    """When an edit was last applied, in seconds since 1970."""

    @property
    def is_successful(self) -> bool:
        """Whether what the file says is served, if only to some yet."""
        return self.state in (APPLIED, ROLLING_OUT) and not self.file_error
