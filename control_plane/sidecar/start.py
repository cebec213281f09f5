"""Which policy a start begins with: that of the file, or the last good one if the file is bad.

A file whose version Envoys had refused, or that the operator had left by `rollback`, is bad, too, until it is edited or
`reload` is forced: a restart must not bring back what was just taken back.
"""

from dataclasses import dataclass, replace

from control_plane.policy import Diagnostic, Document, format_text
from control_plane.policy.groups import FIRST
from control_plane.sidecar import policy_state as states
from control_plane.sidecar.edits import FORCE_HINT
from control_plane.sidecar.history import History
from control_plane.sidecar.policy_source import Files, PolicySource
from control_plane.sidecar.policy_state import PolicyState
from control_plane.sidecar.reading import read
from protos.messages import Messages


class PolicyInvalidError(Exception):
    """The policy has errors at the start, when there is no last good one; carries the diagnostics."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        """`diagnostics` are all findings of the check."""
        super().__init__("\n".join(format_text(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics


class PolicyUnreadableError(Exception):
    """The policy file cannot be read at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a start begins with. `document` is None if there is nothing to serve; `diagnostics` or `error` say why."""

    files: Files
    """What the file held, good or bad: the watch compares with it."""
    document: Document | None
    state: PolicyState
    diagnostics: tuple[Diagnostic, ...] = ()
    error: str = ""
    newer: Files | None = None
    """The file's policy, where it is to come as an edit of `document`: it goes to some groups first."""
    accepted: Document | None = None
    """The last policy that Envoys had accepted, where that is another one."""


def begin(source: PolicySource, history: History, messages: Messages) -> Beginning:
    """Reads the file and what an earlier process kept. Blocks; raises nothing."""
    history.load()
    try:
        files, error = source.read(), ""
    except (OSError, ValueError) as failure:
        files, error = (), f"{source.path}: {getattr(failure, 'strerror', None) or failure}"
    document, diagnostics = read(files, messages) if files else (None, ())
    found = Beginning(
        files=files,
        document=document,
        state=PolicyState(version=document.version if document else "", diagnostics=diagnostics),
        diagnostics=diagnostics,
        error=error,
    )
    if document is None:
        return _from_history(found, states.REJECTED, error, history, messages)
    entry = history.entry(document.version)
    if entry is not None and entry.state == states.ROLLED_BACK:
        why = f"version {document.version} had been rolled back; {FORCE_HINT}"
        return _from_history(found, states.ROLLED_BACK, why, history, messages)
    return _staged(_with_accepted(found, history, messages), history, messages)


def _from_history(found: Beginning, word: str, why: str, history: History, messages: Messages) -> Beginning:
    """The newest of the good ones that this program can read; `found` itself if there is none."""
    broken = found.document.version if found.document else ""
    for entry in reversed(history.entries):
        files = history.files(entry.version)
        if entry.state != states.APPLIED or entry.version == broken or files is None:
            continue
        document, _ = read(files, messages)
        if document is not None:
            state = replace(found.state, version=document.version, state=word, error=why, source=states.FROM_LAST_GOOD)
            return _with_accepted(replace(found, document=document, state=state), history, messages)
    return found


def _with_accepted(found: Beginning, history: History, messages: Messages) -> Beginning:
    assert found.document is not None, "asked by the callers"
    entry = history.last_accepted()
    files = history.files(entry.version) if entry and entry.version != found.document.version else None
    return replace(found, accepted=read(files, messages)[0]) if files else found


def _staged(found: Beginning, history: History, messages: Messages) -> Beginning:
    """Edited while nobody looked: with groups that go first it is an edit like any other."""
    assert found.document is not None, "asked by the caller"
    last = history.last_good(but=found.document.version)
    is_known = (entry := history.entry(found.document.version)) is not None and entry.state == states.APPLIED
    files = history.files(last.version) if last else None
    if is_known or files is None or all(group.rollout != FIRST for group in found.document.policy.groups):
        return found
    document, _ = read(files, messages)
    if document is None:
        return found
    state = replace(found.state, version=document.version)
    return replace(found, document=document, newer=found.files, state=state)
