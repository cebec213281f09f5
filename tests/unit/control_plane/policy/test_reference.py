"""The reference page."""

from pathlib import Path

from control_plane.policy import reference_markdown
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.declare import settings_of
from control_plane.policy.model import Policy

ROOT = Path(__file__).parents[4]


def test_committed_copy() -> None:
    """`docs/policy_reference.md` is what `kvpilot schema --output markdown` prints."""
    assert reference_markdown() == (ROOT / "docs" / "policy_reference.md").read_text()


def test_everything_is_there() -> None:
    """Each block, each key and each code has its place on the page."""
    page = reference_markdown()
    for cls in BlockOf(Policy).blocks():
        section = page.split(f"\n## {cls.__name__}\n")[1].split("\n## ")[0]
        for setting in settings_of(cls):
            assert setting.is_key or f"\n| `{setting.key}` |" in section
        for key in cls.PLANNED:
            assert f"\n- `{key}`: " in section
    for code in Code:
        assert f"\n| {code.value} |" in page


def test_links_lead_somewhere() -> None:
    """A block that is named in a table has a heading of that name."""
    page = reference_markdown()
    for cls in BlockOf(Policy).blocks():
        assert page.count(f"\n## {cls.__name__}\n") == 1
        assert cls is Policy or f"(#{cls.__name__.lower()})" in page
