"""The style sheet."""

import re

from sim.virtual.html_style import STYLE
from sim.virtual.plots import COLOURS


def test_both_schemes_have_every_colour() -> None:
    """What is used is defined, in the light and in the dark."""
    light, dark = (set(re.findall(r"(--\w+):#", part)) for part in STYLE.split("@media (prefers-color-scheme:dark)"))
    assert light == dark == set(re.findall(r"var\((--\w+)\)", STYLE))
    assert {f"--c{n}" for n in range(COLOURS)} <= light


def test_nothing_is_fetched() -> None:
    """No address, no import; and nothing that would end the element."""
    assert not re.search(r"url\(|@import|//|<", STYLE)
