"""The words of conditions."""

from control_plane.policy.matching import TASK_PATHS
from ext_proc.core.request import KINDS


def test_words_for_tasks_are_those_of_the_picker() -> None:
    """The paths of the task types are the ones that the picker reads, by the same names."""
    assert {path: word for word, path in TASK_PATHS.items()} == KINDS
