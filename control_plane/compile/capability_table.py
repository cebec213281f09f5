"""The page that says which Envoy gets what, made from the table that the compiler goes by."""

from control_plane.compile.capability import (
    OLDEST_TESTED,
    Feature,
    capabilities,
    needed_extensions,
)
from control_plane.compile.node import Node, Version

VERSIONS: tuple[Version, ...] = tuple((1, minor, 0) for minor in range(34, 41))
"""The columns: `override_host`, by which Envoy follows a pick, is as old as 1.34."""

_INTRODUCTION = """\
# What each Envoy gets

Generated from the table in `control_plane/compile/capability.py`; do not edit. Its test writes it anew with
`KVPILOT_UPDATE_GOLDEN=1`.

An Envoy is never sent a filter, an extension or a field that it would refuse. It is judged by the list of extensions
that it sends with its first request (an Envoy that was built without one of them does not get what needs it, whatever
its version), and by its version for what is a new field of an old message. `kvpilot status` shows for each Envoy what
the policy wants and it does not get; `kvpilot render --envoy-version X.Y POLICY` and `kvpilot plan` say the same
without one.

Envoy OLDEST is the oldest one that is tested. For older ones the columns follow from the same rules and are untried.
An Envoy that tells neither its version nor its extensions is taken for OLDEST. Where a row has brackets they say what
there is instead.
"""


def capability_table() -> str:
    """The page in Markdown, the same on every call."""
    columns = [_dotted(version) for version in VERSIONS]
    lines = [
        _INTRODUCTION.replace("OLDEST", _dotted(OLDEST_TESTED)),
        f"| what | {' | '.join(columns)} | extensions |",
        f"|---|{'---|' * len(columns)}---|",
        *(_row(feature) for feature in Feature),
    ]
    return "\n".join(lines) + "\n"


def _row(feature: Feature) -> str:
    gets = ("yes" if capabilities(Node(id="", version=version)).has(feature) else "–" for version in VERSIONS)
    extensions = ", ".join(f"`{_short(name)}`" for name in needed_extensions(feature))
    return f"| {feature.value} | {' | '.join(gets)} | {extensions} |"


def _short(name: str) -> str:
    """A message's name without its package."""
    return name.rpartition(".")[2]


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
