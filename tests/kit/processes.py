"""Who is whose child and who lives, from /proc."""

from pathlib import Path


def _stat(pid: int) -> list[str] | None:
    """The fields behind the name in /proc/PID/stat, or None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for yet does not."""
    fields = _stat(pid)
    return fields is not None and fields[0] != "Z"


def children_of(pid: int) -> list[int]:
    """Process ids of the living children of a process; empty when it is gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(path.name))
        if fields is not None and int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.name))
    return found
