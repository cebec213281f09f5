"""Reading the policy that a verb was given."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy import Document, LoadResult


def load_file(file: str) -> "LoadResult":
    """The policy in a file; a file that cannot be read is a finding like all others."""
    from control_plane.policy import load_bytes
    from control_plane.policy.codes import Code
    from control_plane.policy.loader import MAX_BYTES, failure

    try:
        with open(file, "rb") as stream:
            # One byte more than the bound shows that the file is over it; what is behind does not matter.
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return failure(file, Code.UNREADABLE, f"cannot be read: {reason}")
    return load_bytes(data, file)


def read_policy(path: Path) -> "Document | None":
    """The document of `path`; None when it cannot be used, and standard error says why. Warnings go there, too."""
    from control_plane.policy import format_text

    result = load_file(str(path))
    for diagnostic in result.diagnostics:
        print(format_text(diagnostic), file=sys.stderr)
    return result.document
