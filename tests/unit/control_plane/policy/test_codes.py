"""The codes."""

import re
from pathlib import Path

from control_plane.policy.codes import EXPLANATIONS, Code

HERE = Path(__file__).parent


def test_every_code_is_explained() -> None:
    """Each code has its line in the reference, in the order of the codes' areas."""
    assert list(EXPLANATIONS) == list(Code)


def test_codes_are_well_formed() -> None:
    """A code is KP and three digits; the hundred is its area, and 9 means warning."""
    assert all(re.fullmatch(r"KP[12349][0-9]{2}", code) for code in Code)
    assert [code for code in Code if code.is_warning] == [code for code in Code if code.startswith("KP9")]
    assert len({code.value for code in Code}) == len(Code)


def test_every_code_has_a_test() -> None:
    """No code without an example of the mistake that it stands for (files and Envoy are the command's to test)."""
    tested = "".join(path.read_text() for path in HERE.glob("test_*.py") if path.name != "test_codes.py")
    missing = [code for code in Code if code.value not in tested and f"Code.{code.name}" not in tested]
    assert missing == [Code.UNREADABLE, Code.ENVOY_REFUSES, Code.ENVOY_UNAVAILABLE]
