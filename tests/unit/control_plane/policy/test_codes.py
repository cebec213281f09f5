"""The codes; that each has a file that gives it is in test_bad_files.py, that each has a page in test_code_pages.py."""

import re

from control_plane.policy.codes import EXPLANATIONS, Code


def test_every_code_is_explained() -> None:
    """Each code has its line in the reference, in the order of the codes' areas."""
    assert list(EXPLANATIONS) == list(Code)


def test_codes_are_well_formed() -> None:
    """A code is KP and three digits; the hundred is its area, and 9 means warning."""
    assert all(re.fullmatch(r"KP[12349][0-9]{2}", code) for code in Code)
    assert [code for code in Code if code.is_warning] == [code for code in Code if code.startswith("KP9")]
    assert len({code.value for code in Code}) == len(Code)
