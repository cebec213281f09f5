"""`kvpilot check POLICY…`: everything that is wrong with policies, each finding with its place, code and hint.

In three tiers, each asked only of what passed the one before: the text and its values, what it compiles to
(`control_plane.compile.findings`), and with `--envoy` what Envoy itself says.
"""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy import Diagnostic, LoadResult

NAME = "check"
HELP = "check policy files: all errors and warnings, located"

OUTPUTS = ("text", "json", "github")
SEVERITIES = ("error", "warning")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument("policies", nargs="+", metavar="POLICY", help="policy files, or directories of files")
    parser.add_argument("--envoy", action="store_true", help="also ask `envoy --mode validate` about the result")
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the findings (default: text)")
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, default="error", help="what makes the status 1 (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the findings of all policies; 1 if any of them is an error, with `--fail-on warning` also a warning."""
    from pathlib import Path

    from control_plane.cli.file_findings import with_file_findings
    from control_plane.cli.policy_file import checked_file

    results = {file: with_file_findings(Path(file), checked_file(file)) for file in args.policies}
    if args.envoy:
        from control_plane.cli.envoy_validate import validated

        results = {file: validated(file, result) for file, result in results.items()}
    _PRINT[args.output](results)
    is_strict = args.fail_on == "warning"
    return int(any(result.document is None or (is_strict and result.diagnostics) for result in results.values()))


def _findings(results: "dict[str, LoadResult]") -> "list[Diagnostic]":
    return [diagnostic for result in results.values() for diagnostic in result.diagnostics]


def _print_text(results: "dict[str, LoadResult]") -> None:
    from control_plane.policy import format_text

    for diagnostic in _findings(results):
        print(format_text(diagnostic), end="\n\n")
    for file, result in results.items():
        print(f"{file}: {_verdict(result)}")


def _verdict(result: "LoadResult") -> str:
    errors = sum(diagnostic.severity == "error" for diagnostic in result.diagnostics)
    warnings = len(result.diagnostics) - errors
    counted = ", ".join(
        _count(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number or noun == "error"
    )
    if result.document is None:
        return counted
    policy = result.document.policy
    endpoints = sum(len(pool.static_endpoints) for pool in policy.pools)
    sources = sum(len(pool.discovered) for pool in policy.pools)
    parts = [(len(policy.models), "model"), (len(policy.pools), "pool"), (endpoints, "endpoint")]
    parts += [(sources, "discovery source")] if sources else []
    size = ", ".join(_count(number, noun) for number, noun in parts)
    return f"ok, version {result.document.version}: {size}" + (f"; {_count(warnings, 'warning')}" if warnings else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_json(results: "dict[str, LoadResult]") -> None:
    from control_plane.policy import format_json

    print(format_json(_findings(results)))


def _print_github(results: "dict[str, LoadResult]") -> None:
    from control_plane.policy import format_github

    sys.stdout.writelines(f"{format_github(diagnostic)}\n" for diagnostic in _findings(results))


_PRINT = {"text": _print_text, "json": _print_json, "github": _print_github}
