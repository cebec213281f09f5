"""`kvpilot test SCENARIOS…`: requests and fleets as an operator expects them, against the compiled routes and the real
picker, without an Envoy."""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy import Document
    from control_plane.scenarios.model import Scenario
    from control_plane.scenarios.reading import ScenarioFile

NAME = "test"
HELP = "request + fleet state → expected pool and pick, from YAML files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIOS", type=Path, help="scenario files")
    parser.add_argument("--verbose", action="store_true", help="also say what became of the scenarios that hold")


def run(args: argparse.Namespace) -> int:
    """Prints what does not hold; 0 when all do, 1 when not, or when a file has errors."""
    passed = failed = 0
    for path in args.scenarios:
        for name, lines, shown in _results(path):
            passed, failed = passed + (not lines), failed + bool(lines)
            if lines:
                print(f"FAIL {name}", *lines, sep="\n")
            elif args.verbose:
                print(f"ok   {name}", *shown, sep="\n")
    print(f"{passed} passed, {failed} failed")
    return int(bool(failed) or not passed)


def _results(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Per scenario: its name, what does not hold, and what came of it. A file that cannot be read is one that fails."""
    from control_plane.cli.policy_file import checked_file
    from control_plane.policy import format_text
    from control_plane.scenarios.reading import read_scenarios

    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        yield str(path), [f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"], []
        return
    file, diagnostics = read_scenarios(text, str(path))
    for diagnostic in diagnostics:
        print(format_text(diagnostic), file=sys.stderr)
    if file is None:
        yield str(path), [f"{path}: the scenarios have errors"], []
        return
    policy = str(path.parent / file.scenarios.policy)
    result = checked_file(policy)
    if result.document is None:
        for diagnostic in result.diagnostics:
            print(format_text(diagnostic), file=sys.stderr)
        yield str(path), [f"{file.mark('policy')}: the policy {policy} has errors"], []
        return
    for scenario in file.scenarios.scenarios:
        yield _result(scenario, file, result.document)


def _result(scenario: "Scenario", file: "ScenarioFile", document: "Document") -> tuple[str, list[str], list[str]]:
    from control_plane.cli.compiling import compiled_for, envoy_version, unknown_group
    from control_plane.compile.evaluate import UnknownMatcherError
    from control_plane.fleet.model import static_fleet
    from control_plane.scenarios.check import failures
    from control_plane.scenarios.put import ScenarioError, fleet_with, outcome
    from control_plane.sidecar.picker_settings import picker_settings

    place = f"scenarios.{scenario.name}"
    envoy = scenario.envoy
    problem = unknown_group(document, envoy.group)
    if problem:
        return scenario.name, [f"  {file.mark(f'{place}.envoy.group')}: {problem}"], []
    try:
        fleet = fleet_with(static_fleet(document.policy), scenario)
        compiled = compiled_for(
            document,
            version=envoy_version(envoy.version),
            region=envoy.region,
            zone=envoy.zone,
            group=envoy.group,
            fleet=fleet,
        )
        settings = picker_settings(document.policy, fleet, document.version, envoy.region, envoy.zone)
        found = outcome(scenario, document, compiled, settings, random.Random(file.scenarios.seed))
    except ScenarioError as error:
        return scenario.name, [f"  {file.mark(f'{place}.{error.path}')}: {error}"], []
    except UnknownMatcherError as error:
        return scenario.name, [f"  {file.mark(place)}: this cannot be judged without an Envoy: {error}"], []
    lines = [f"  {file.mark(f'{place}.{one.path}')}: {one.message}" for one in failures(scenario, found)]
    pools = ", ".join(f"{name} {weight}" for name, weight in found.decided.pools) or f"answer {found.decided.status}"
    return scenario.name, lines, [f"     {found.decided.route or 'no route'} → {pools}; {found.why or 'not picked'}"]
