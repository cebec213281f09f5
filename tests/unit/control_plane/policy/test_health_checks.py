"""What a policy says about active health checks."""

import pytest

from control_plane.policy.codes import Code
from control_plane.policy.health_checks import StatusRanges
from control_plane.policy.kinds import ValueRefusedError

KIND = StatusRanges()


@pytest.mark.parametrize(
    ("text", "value"), [("200", (200, 200)), ("200-299", (200, 299)), ("100-599", (100, 599)), ("418-418", (418, 418))]
)
def test_statuses(text: str, value: tuple[int, int]) -> None:
    """One status, or a range with both ends."""
    assert KIND.parse(text) == value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.NOT_A_VALUE),
        ("ok", Code.NOT_A_VALUE),
        ("200-", Code.NOT_A_VALUE),
        ("-200", Code.NOT_A_VALUE),
        ("200-299-300", Code.NOT_A_VALUE),
        ("²00", Code.NOT_A_VALUE),
        ("299-200", Code.NOT_A_VALUE),
        ("99", Code.OUT_OF_BOUNDS),
        ("600", Code.OUT_OF_BOUNDS),
        ("200-600", Code.OUT_OF_BOUNDS),
        ("0200", Code.OUT_OF_BOUNDS),
    ],
)
def test_what_is_no_status(text: str, code: Code) -> None:
    """Envoy takes 100 to 599, and ranges that go upwards."""
    with pytest.raises(ValueRefusedError) as refused:
        KIND.parse(text)
    assert refused.value.code is code


def test_shown_as_written() -> None:
    """One number, or both."""
    assert (KIND.plain((200, 200)), KIND.plain((200, 299))) == (200, "200-299")
    assert KIND.schema()["maximum"] == 599
    assert "200-299" in KIND.describe()
