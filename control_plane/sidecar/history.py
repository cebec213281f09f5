"""What outlives a restart: the last policies with their fates, and what Envoys refused.

    history = History(state_dir / "history")
    history.load()
    history.record(version, files, "applied", time.time())
    await asyncio.to_thread(history.write, history.pending())      # or history.write(...) where waiting does no harm

A policy is kept as the text of its files, in a file of its own that is written once; one small index has their order
and state. Each file begins with the checksum of what follows, is written beside its place, flushed to the disk and then
renamed, so that a crash at any moment leaves the old content or the new one. What is damaged is skipped with a word in
the log: a history that cannot be read must not keep anybody from starting. Files that a policy names (private keys!)
are never stored.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from control_plane.sidecar.policy_source import Files

log = logging.getLogger("kvpilot")

MAX_ENTRIES = 20
"""Policies kept: some days of edits; each has at most a few hundred kilobytes."""

APPLIED = "applied"
ROLLING_OUT = "rolling-out"
ROLLED_BACK = "rolled-back"

_INDEX = "index"
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One policy that was applied; `time` in seconds since 1970. `accepted`: by all Envoys of some group."""

    version: str
    time: float
    state: str
    accepted: bool = False


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
        """A policy was applied; one that was there before becomes the newest. Beyond `MAX_ENTRIES` the oldest go, but
        never the last that was accepted."""
        before = self._entries.pop(version, None)
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
            version: _encoded([[name, data.decode("utf-8", "replace")] for name, data in files])
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
        return Pending({**contents, _INDEX: _encoded(index)}, obsolete)

    def write(self, pending: Pending | None) -> None:
        """Does it; raises OSError. Blocks for as long as the disk takes."""
        if pending is None or self.directory is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
        for name, content in pending.contents.items():
            _write(self.directory / f"{name}.json", content)
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
                entry = Entry(**item)
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
        path = self.directory / f"{name}.json"
        try:
            checksum, _, body = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("history: %s cannot be read: %s", path, error)
            return None
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            log.warning("history: %s is damaged and left out", path)
            return None
        return json.loads(body)


def _encoded(value: object) -> bytes:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _write(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename, too
    finally:
        os.close(directory)
