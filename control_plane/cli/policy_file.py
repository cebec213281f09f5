"""Reading the policy that a verb was given: a file, or a directory of files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy import Document, LoadResult


def load_file(path: str) -> "LoadResult":
    """The policy in a file or in a directory; what cannot be read is a finding like all others."""
    from control_plane.policy.codes import Code
    from control_plane.policy.loader import failure, load_files
    from control_plane.sidecar.own_strategies import InstalledStrategies
    from control_plane.sidecar.policy_source import PolicySource

    try:
        files = PolicySource(Path(path)).read()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return failure(path, Code.UNREADABLE, f"cannot be read: {reason}")
    return load_files(files, InstalledStrategies())


def checked_file(path: str) -> "LoadResult":
    """The same with what only shows in what the policy compiles to; a policy with errors is not compiled."""
    from dataclasses import replace

    result = load_file(path)
    if result.document is None or not result.document.policy.envoy_patch:
        return result  # only patches can go wrong there, and Envoy's messages take a moment to load
    from control_plane.compile.findings import findings
    from protos.messages import load

    found = findings(result.document, load())
    is_good = all(diagnostic.severity == "warning" for diagnostic in found)
    diagnostics = (*result.diagnostics, *found)
    return replace(result, document=result.document if is_good else None, diagnostics=diagnostics)


def read_policy(path: Path, group: str = "") -> "Document | None":
    """The document of `path`; None when it cannot be used, and standard error says why. Warnings go there, too.

    With `group` also None when the policy does not have that group.
    """
    from control_plane.cli.compiling import unknown_group
    from control_plane.policy import format_text

    result = checked_file(str(path))
    for diagnostic in result.diagnostics:
        print(format_text(diagnostic), file=sys.stderr)
    problem = unknown_group(result.document, group) if result.document is not None and group else ""
    if problem:
        print(problem, file=sys.stderr)
    return None if problem else result.document
