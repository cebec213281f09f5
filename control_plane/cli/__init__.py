"""The command line: one module per verb, each with NAME, HELP, add_arguments(parser) and run(args) -> exit status.

Exit statuses are those of the table in docs/operations.md; wrong use is 64 (EX_USAGE of sysexits.h).
A verb's module imports little at its top and what it needs when it runs, so that `kvpilot check` starts no web server.
"""

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

EX_USAGE = 64
EX_INTERRUPTED = 130
"""What shells show for a program that Ctrl-C ended."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to a disk may end with though the program is right."""
VERBS = (
    "demo", "run", "check", "plan", "render", "explain", "test", "status", "rollback", "reload", "drain", "undrain",
    "notify", "bootstrap", "schema", "pods", "probe", "record", "replay", "drill",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse leaves with 2, which here already means "there are changes"; usage errors are 64."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EX_USAGE)


def _verb(name: str) -> ModuleType:
    return importlib.import_module(f"control_plane.cli.{name}")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="kvpilot", description="Envoy control plane and KV-cache-aware picker for GPU pods.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name in VERBS:
        module = _verb(name)
        module.add_arguments(verbs.add_parser(module.NAME, help=module.HELP, description=module.HELP))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and gives its exit status."""
    args = build_parser().parse_args(argv)
    args.words = tuple(sys.argv[1:] if argv is None else argv)  # a report says what made it
    try:
        status = int(_verb(args.verb).run(args))
        sys.stdout.flush()  # here, since at exit nobody could say what is wrong
        return status
    except KeyboardInterrupt:
        return EX_INTERRUPTED  # before a verb listens for it
    except BrokenPipeError:
        # `kvpilot render … | head` is no error; the reader has seen what it wanted.
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"kvpilot {args.verb}: {where}{error.strerror}", file=sys.stderr)
        _drop_output()
        return 1


def _drop_output() -> None:
    """Forgets what could not be written; Python would try again at exit, and complain."""
    with suppress(OSError):
        sys.stdout.close()
