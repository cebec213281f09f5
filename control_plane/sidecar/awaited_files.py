"""Edits that name a file which is not there yet: what is served now must not stop for it.

Envoy takes a listener with TLS whose certificate is unknown, and then refuses every connection. A listener or pool that
is new may wait like that; one that serves already goes on as it is until the file has come.
"""

from collections.abc import Sequence

from control_plane.policy import Document
from control_plane.policy.model import Policy
from control_plane.policy.named_files import NamedFile, Token, named_files

MAX_TOLD = 3
"""Files that are named in the message; `status` would have more rows than anybody reads."""


def awaited(old: Policy, new: Document, missing: Sequence[tuple[NamedFile, str]]) -> str:
    """Why an edit has to wait, in words; empty if it has not. `missing` are files of `new` that cannot be used.

    A file that was missing before the edit as well has nothing to lose, and without a token only metrics are not read.
    """
    known = {named.files for named in named_files(old)}
    owners = (*(f"listeners.{each.name}." for each in old.listeners), *(f"pools.{each.name}." for each in old.pools))
    found = [
        f"{new.mark(named.policy_path) or named.policy_path}: {fault}"
        for named, fault in missing
        if named.files not in known and named.policy_path.startswith(owners) and not isinstance(named, Token)
    ]
    if not found:
        return ""
    more = f" and {len(found) - MAX_TOLD} more" if len(found) > MAX_TOLD else ""
    return f"{'; '.join(found[:MAX_TOLD])}{more}: the edit waits, for what is served now would stop without it"
