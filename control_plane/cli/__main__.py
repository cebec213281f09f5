"""`python -m control_plane.cli` is `kvpilot`: for children of our own, where no script is on the PATH."""

import sys

from control_plane.cli import main

if __name__ == "__main__":
    sys.exit(main())
