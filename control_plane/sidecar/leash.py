"""Runs a program that ends when its parent does: `python -m control_plane.sidecar.leash PARENT PROGRAM ARGUMENT…`.

Linux sends SIGTERM to it when the parent dies, however that happens, so a killed demo leaves nothing behind. It is a
program of its own, not a function between fork and exec, because forking a process in which gRPC's threads run is not
safe. On other systems it only runs the program.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def leashed(*command: str) -> list[str]:
    """The command line that runs `command` on the leash of this process; the process id is the program's own."""
    return [sys.executable, "-m", "control_plane.sidecar.leash", str(os.getpid()), *command]


def main() -> None:
    """Ties itself to the parent, then becomes the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return  # it died in between: nobody will send the signal
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
