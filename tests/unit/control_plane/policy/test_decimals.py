"""Numbers with a decimal point."""

import pytest

from control_plane.policy.codes import Code
from control_plane.policy.decimals import Decimal
from control_plane.policy.kinds import ValueRefusedError

KIND = Decimal(0.5, 100.0)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1.0), ("1.5", 1.5), ("0.5", 0.5), ("100", 100.0), ("2.000001", 2.000001)]
)
def test_numbers(text: str, value: float) -> None:
    """Digits with or without a point."""
    assert KIND.parse(text) == value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.NOT_A_VALUE),
        ("x", Code.NOT_A_VALUE),
        ("-1", Code.NOT_A_VALUE),
        ("1e3", Code.NOT_A_VALUE),
        ("01", Code.NOT_A_VALUE),
        ("1.", Code.NOT_A_VALUE),
        (".5", Code.NOT_A_VALUE),
        ("1.0000001", Code.NOT_A_VALUE),
        ("nan", Code.NOT_A_VALUE),
        ("9" * 400, Code.NOT_A_VALUE),
        ("0.4", Code.OUT_OF_BOUNDS),
        ("100.1", Code.OUT_OF_BOUNDS),
    ],
)
def test_what_is_no_number(text: str, code: Code) -> None:
    """Exponents, signs, more digits than any fraction of Envoy's has, and what is outside of the bounds."""
    with pytest.raises(ValueRefusedError) as refused:
        KIND.parse(text)
    assert refused.value.code is code


def test_shown_as_json_has_it() -> None:
    """A whole number is shown without its point."""
    assert (KIND.plain(2.0), KIND.plain(2.5)) == (2, 2.5)
    assert KIND.describe() == "0.5..100"
    assert KIND.schema()["maximum"] == 100.0
    assert "0.5" in KIND.noun
