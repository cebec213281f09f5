"""Scenario file → values, with the place of everything; findings have the form and the codes of a policy's."""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.policy.diagnostics import Diagnostic, Mark
from control_plane.policy.one_block import read_block
from control_plane.policy.reader import nearest_mark
from control_plane.scenarios.model import Scenarios


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """The scenarios of a file; `marks` has the place of each key, such as `scenarios.a warm cache wins.expect.pick`."""

    scenarios: Scenarios
    marks: Mapping[str, Mark]

    def mark(self, path: str) -> Mark | None:
        """The place of `path`, or of the nearest thing above it that is written."""
        return nearest_mark(self.marks, path)


def read_scenarios(text: str, file: str) -> tuple[ScenarioFile | None, tuple[Diagnostic, ...]]:
    """The scenarios in `text`, None with findings where something is wrong. Never raises."""
    found, reader = read_block(text, file, Scenarios)
    if found is None or reader.has_errors:
        return None, reader.diagnostics()
    return ScenarioFile(found, reader.marks), reader.diagnostics()
