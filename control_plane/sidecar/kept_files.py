"""Files that outlive a restart: a JSON value behind its checksum, replaced as a whole.

Each begins with the checksum of what follows, is written beside its place, flushed to the disk and then renamed, so
that a crash at any moment leaves the old content or the new one. What is damaged is left out with a word in the log: it
must not keep anybody from starting.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger("kvpilot")

_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700

_Kept = TypeVar("_Kept")


def encoded(value: object) -> bytes:
    """The content of a file with this JSON value."""
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def write(path: Path, content: bytes) -> None:
    """Replaces the file; its directory is made if need be. Raises OSError. Blocks for as long as the disk takes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
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


def read(path: Path, limit: int | None = None) -> Any:
    """The value in a file; None where there is none, or none that can be trusted, or it has more than `limit` bytes."""
    try:
        if limit is not None and (size := path.stat().st_size) > limit:
            log.warning("%s has %d bytes, more than it can have, and is left out", path, size)
            return None
        checksum, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return None
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        log.warning("%s is damaged and left out", path)
        return None
    return json.loads(body)


class KeptFile:
    """One such file that is written again and again. Mutable: whether the disk takes it.

    One thread writes at a time: whoever is cancelled leaves one behind that still does.
    """

    def __init__(self, path: Path, what: str) -> None:
        """`what` it holds, in words for the log."""
        self.error = ""
        """Why it could not be written the last time; empty if it was."""
        self._path = path
        self._what = what
        self._lock = threading.Lock()

    def read(self, limit: int, kept_in: Callable[[Any], _Kept]) -> _Kept | None:
        """What `kept_in` makes of the value in it; None where there is none, or where that raises ValueError. Blocks;
        never raises: says what is left out. `limit` is that of `read`."""
        try:
            value = read(self._path, limit)
            return None if value is None else kept_in(value)
        except (ValueError, RecursionError) as error:
            log.warning("%s is left out: %s", self._path, error)
            return None

    def write(self, content: bytes) -> bool:
        """Whether it was written. Blocks, and never raises: says once that it cannot be, until it can be again."""
        with self._lock:
            try:
                write(self._path, content)
            except OSError as error:
                if not self.error:
                    log.error("%s: %s cannot be kept for a restart: %s", self._path, self._what, error)
                self.error = f"{self._path}: {error}"
                return False
            self.error = ""
            return True
