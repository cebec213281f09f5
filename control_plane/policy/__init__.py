"""The policy file: YAML → frozen values with the place of everything, all errors at once. Pure: no I/O.

`model.py` declares what there is; `load` reads it; `json_schema` and `reference_markdown` describe it.
"""

from control_plane.policy.diagnostics import Diagnostic, Mark, format_github, format_json, format_text
from control_plane.policy.loader import Document, LoadResult, load, load_bytes, load_files
from control_plane.policy.reference import reference_markdown
from control_plane.policy.schema import json_schema, part_schema

__all__ = [
    "Diagnostic",
    "Document",
    "LoadResult",
    "Mark",
    "format_github",
    "format_json",
    "format_text",
    "json_schema",
    "load",
    "load_bytes",
    "load_files",
    "part_schema",
    "reference_markdown",
]
