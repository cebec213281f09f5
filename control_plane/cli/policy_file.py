"""Reading the policy that a verb was given."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy import Document


def read_policy(path: Path) -> "Document | None":
    """The document of `path`; None when it cannot be used, and standard error says why. Warnings go there, too."""
    from control_plane.policy import format_text, load_bytes

    try:
        data = path.read_bytes()
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return None
    result = load_bytes(data, str(path))
    for diagnostic in result.diagnostics:
        print(format_text(diagnostic), file=sys.stderr)
    return result.document
