"""Sessions in `/metrics`."""

from control_plane.admin.session_metrics import sessions


def test_all_numbers() -> None:
    """One of each."""
    samples = [
        (sample.name, sample.value)
        for family in sessions({"known": 3, "limit": 10, "moved": 1})
        for sample in family.samples
    ]
    assert samples == [("kvpilot_sessions", 3), ("kvpilot_sessions_limit", 10), ("kvpilot_session_moves_total", 1)]
