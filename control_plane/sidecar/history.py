"""What outlives a restart: the last policies with their fates, and what Envoys refused.

    history = History(state_dir / "history")
    history.load()
    history.record(version, files, "applied", time.time())
    await asyncio.to_thread(history.write, history.pending())      # or history.write(...) where waiting does no harm

A policy is kept as the text of its files, in a file of its own that is written once; one small index has their order
and state (`kept_files` has how they are written and read). Files that a policy names (private keys!) are never stored.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from control_plane.sidecar import kept_files
from control_plane.sidecar.policy_source import Files

log = logging.getLogger("kvpilot")

MAX_ENTRIES = 20
"""Policies kept: some days of edits; each has at most a few hundred kilobytes."""

APPLIED = "applied"
ROLLING_OUT = "rolling-out"
ROLLED_BACK = "rolled-back"
REPLACED = "replaced"
"""Was with the groups that go first when a newer edit took its place."""

_INDEX = "index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One policy that was applied; `time` in seconds since 1970. `accepted`: by all Envoys of some group."""

    version: str
    time: float
    state: str
    accepted: bool = False


_KEYS = frozenset(field.name for field in fields(Entry))
"""What is read of an entry: a newer kvpilot may have written more."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What is to be written: contents by file name, and names of files that nobody needs any more."""

    contents: Mapping[str, bytes]
    obsolete: tuple[str, ...]


class History:
    """Mutable: the entries (oldest first), their files, the refusals. `record`, `mark` and `load` write them; `write`
    only touches the disk, so that it may run in a thread."""

    def __init__(self, directory: Path | None) -> None:
        """`directory` is made when it is first written; None: nothing is kept."""
        self.directory = directory
        self._entries: dict[str, Entry] = {}
        self._files: dict[str, Files] = {}
        self._rejections: tuple[Mapping[str, Any], ...] = ()
        self._written: set[str] = set()
        self._stale = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, oldest first."""
        return tuple(self._entries.values())

    @property
    def rejections(self) -> tuple[Mapping[str, Any], ...]:
        """What was handed to `remember_rejections`, or read from the disk: JSON values."""
        return self._rejections

    def files(self, version: str) -> Files | None:
        """The files of a version that is kept; None for any other."""
        return self._files.get(version)

    def entry(self, version: str) -> Entry | None:
        """The entry of a version."""
        return self._entries.get(version)

    def last_good(self, *, but: str = "") -> Entry | None:
        """The newest entry that was not rolled back, other than `but`."""
        good = (e for e in reversed(self.entries) if e.state == APPLIED and e.version != but)
        return next(good, None)

    def last_accepted(self) -> Entry | None:
        """The newest entry that Envoys have accepted as a whole."""
        return next((e for e in reversed(self.entries) if e.accepted and e.state == APPLIED), None)

    def record(self, version: str, files: Files, state: str, now: float) -> None:
        """A policy was applied; one that was there before becomes the newest, and one that was under way is so no more.
        Beyond `MAX_ENTRIES` the oldest go, but never the last that was accepted."""
        before = self._entries.pop(version, None)
        for name, entry in self._entries.items():
            if entry.state == ROLLING_OUT:
                self._entries[name] = replace(entry, state=REPLACED)
        accepted = before is not None and before.accepted
        self._entries[version] = Entry(version=version, time=now, state=state, accepted=accepted)
        self._files[version] = files
        while len(self._entries) > MAX_ENTRIES:
            keep = self.last_accepted()
            oldest = next(name for name in self._entries if keep is None or name != keep.version)
            del self._entries[oldest], self._files[oldest]
        self._stale = True

    def mark(self, version: str, *, state: str = "", accepted: bool = False) -> None:
        """Something became of a version; unknown ones are ignored."""
        entry = self._entries.get(version)
        if entry is not None:
            new = replace(entry, state=state or entry.state, accepted=entry.accepted or accepted)
            self._stale = self._stale or new != entry
            self._entries[version] = new

    def remember_rejections(self, rejections: Iterable[Mapping[str, Any]]) -> None:
        """What Envoys refused, as JSON values."""
        found = tuple(rejections)
        self._stale = self._stale or found != self._rejections
        self._rejections = found

    # The disk

    def pending(self) -> Pending | None:
        """What `write` has to do, None if nothing; what is in it counts as written."""
        if not self._stale or self.directory is None:
            return None
        self._stale = False
        contents = {
            version: kept_files.encoded([[name, data.decode("utf-8", "replace")] for name, data in files])
            for version, files in self._files.items()
            if version not in self._written
        }
        index = {
            "entries": [
                {"version": e.version, "time": e.time, "state": e.state, "accepted": e.accepted} for e in self.entries
            ],
            "rejections": list(self._rejections),
        }
        obsolete = tuple(sorted(self._written - self._files.keys()))
        self._written = set(self._files)
        # The index last: what it names is there then.
        return Pending({**contents, _INDEX: kept_files.encoded(index)}, obsolete)

    def failed(self, pending: Pending) -> None:
        """`write` could not do it: all of it is still to be done."""
        self._written = (self._written - pending.contents.keys()) | set(pending.obsolete)
        self._stale = True

    def write(self, pending: Pending | None) -> None:
        """Does it; raises OSError. Blocks for as long as the disk takes."""
        if pending is None or self.directory is None:
            return
        for name, content in pending.contents.items():
            kept_files.write(self.directory / f"{name}.json", content)
        for name in pending.obsolete:
            (self.directory / f"{name}.json").unlink(missing_ok=True)

    def load(self) -> None:
        """Reads what an earlier process wrote. Never raises: what is damaged is left out."""
        index = self._read(_INDEX)
        if not isinstance(index, dict):
            return
        try:
            self._rejections = tuple(index["rejections"])
            for item in index["entries"]:
                entry = Entry(**{key: value for key, value in item.items() if key in _KEYS})
                files = self._read(entry.version)
                if files is not None:
                    self._entries[entry.version] = entry
                    self._files[entry.version] = tuple((name, text.encode()) for name, text in files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("history in %s: not as expected (%s)", self.directory, error)
        self._written = set(self._files)

    def _read(self, name: str) -> Any:
        if self.directory is None:
            return None
        return kept_files.read(self.directory / f"{name}.json")
