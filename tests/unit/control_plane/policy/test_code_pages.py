"""docs/codes: a page for each code, whose example gives exactly what the page says."""

import os
import re
from pathlib import Path

import pytest

from control_plane.policy import format_text
from control_plane.policy.codes import Code
from tests.unit.control_plane.policy.findings_of import findings_of

PAGES = Path(__file__).parents[4] / "docs" / "codes"
UPDATE = "KVPILOT_UPDATE_GOLDEN"
FILE = "policy.yaml"

EXAMPLE = re.compile(r"```yaml\n(.*?)```\n\n```\n(.*?)\n```\n", re.DOTALL)

WITHOUT_EXAMPLE = {
    Code.UNREADABLE, Code.NOT_UTF8, Code.CHARACTER, Code.TOO_LARGE, Code.ENVOY_REFUSES, Code.ENVOY_UNAVAILABLE,
    Code.LIST_CUT, Code.UNUSABLE_FILE, Code.NEEDS_RESTART,
}  # fmt: skip
"""Codes that text on a page cannot show: they are about bytes, sizes, and what is outside of the file."""


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """Nobody who meets a code finds nothing about it."""
    assert {path.stem for path in PAGES.glob("*.md")} == {code.value for code in Code}


@pytest.mark.parametrize("code", Code, ids=str)
def test_the_example_is_true(code: Code) -> None:
    """The example gives its code, nothing else, at the place and in the words that the page prints."""
    path = PAGES / f"{code.value}.md"
    text = path.read_text()
    assert text.startswith(f"# {code.value}: ")
    assert "\n## What to do\n" in text
    example = EXAMPLE.search(text)
    assert (example is None) == (code in WITHOUT_EXAMPLE)
    if example is None:
        return
    found = [format_text(one).splitlines()[0] for one in findings_of(example[1].encode(), FILE)]
    if UPDATE in os.environ:
        text = text.replace(example[2], "\n".join(found))
        path.write_text(text)
    assert found == EXAMPLE.search(text)[2].splitlines()  # type: ignore[index]
    assert f"[{code.value}]" in found[0]
