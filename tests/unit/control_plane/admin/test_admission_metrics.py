"""Admission as metrics."""

from typing import Any

from control_plane.admin.admission_metrics import admissions

STATUS: dict[str, dict[str, Any]] = {
    "chat": {
        "admission": {
            "waiting": {"high": 1, "low": 4},
            "waiting_tokens": 900,
            "admitted_per_s": 2.5,
            "rejected": {"full": 3, "expired": 0, "no-wait": 1},
            "left": 2,
        }
    },
    "plain": {"strategy": "random"},
}


def test_numbers() -> None:
    """One row for each pool that has admission, and for each of its priorities and reasons."""
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in admissions(STATUS)
        for sample in family.samples
    }
    assert found == {
        ("kvpilot_admission_waiting", "chat", "high"): 1,
        ("kvpilot_admission_waiting", "chat", "low"): 4,
        ("kvpilot_admission_waiting_tokens", "chat"): 900,
        ("kvpilot_admission_rate", "chat"): 2.5,
        ("kvpilot_admission_rejected_total", "chat", "full"): 3,
        ("kvpilot_admission_rejected_total", "chat", "expired"): 0,
        ("kvpilot_admission_rejected_total", "chat", "no-wait"): 1,
        ("kvpilot_admission_left_total", "chat"): 2,
    }
