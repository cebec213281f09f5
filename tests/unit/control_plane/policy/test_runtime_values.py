"""Values for Envoy's runtime."""

import pytest

from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.runtime_values import MAX_RUNTIME_TEXT, RuntimeValue


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("0", 0.0), ("-1.5e3", -1500.0), ("007", "007"), ("yes", "yes"), ("", "")],
)
def test_values(text: str, value: object) -> None:
    """Truth values and numbers in JSON's spelling, everything else is a text."""
    found = RuntimeValue().parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["1e999", "x" * (MAX_RUNTIME_TEXT + 1)])
def test_refused(text: str) -> None:
    """What Envoy could not hold."""
    with pytest.raises(ValueRefusedError):
        RuntimeValue().parse(text)
