"""Metrics of what was learned of first tokens."""

from control_plane.admin.speed_metrics import speed
from ext_proc.core.speed import GUESS, Speed


def test_each_coefficient() -> None:
    """All that is told is there, under the same names."""
    told = Speed(8).as_dict()
    found = {sample.name: sample.value for family in speed(told) for sample in family.samples}
    assert found == {f"kvpilot_speed_{name}": value for name, value in told.items()}
    assert (found["kvpilot_speed_rows"], found["kvpilot_speed_base_ms"]) == (0, GUESS[0])
