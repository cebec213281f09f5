"""`kvpilot replay … --html FILE`."""

import json
from pathlib import Path

import pytest

from control_plane.cli import main
from tests.unit.sim.virtual.pages import PageFound

WORDS = ("replay", "generate:chat:turns=3", "--requests", "60", "--profile", "demo", "--engines", "2")
TWO = ("--strategies", "kv-aware,unified", "--load", "0.4", "0.6")


def test_the_page_has_the_numbers_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the JSON, which is the same as without; the command line and the trace's head are on the page."""
    place = tmp_path / "a page.html"
    assert main([*WORDS, *TWO, "--output", "json"]) == 0
    plain = capsys.readouterr().out
    assert main([*WORDS, *TWO, "--output", "json", "--html", str(place)]) == 0
    assert capsys.readouterr().out == plain
    found = PageFound(place.read_text())
    assert found.texts["code"][0] == " ".join(("kvpilot", *WORDS, *TWO, "--output", "json", "--html", f"'{place}'"))
    assert found.texts["dt"] == ["trace", "rate", "sharing", "load", "prompt", "output", "fleet", "bound"]
    results = json.loads(plain)["results"]
    shown = {name: numbers for name, *numbers in found.table("Mean time to first token").rows[1:]}
    for name in ("kv-aware", "unified"):
        assert shown[name] == [f"{r['ttft_ms']['mean']:,.0f}" for r in results if r["strategy"] == name]
    assert len(found.table("Cached share of prompt tokens over time").rows) == 49


def test_the_same_words_give_the_same_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte, with the tables as output too."""
    place = tmp_path / "page.html"
    pages = set()
    for _ in range(2):
        assert main([*WORDS, *TWO, "--html", str(place)]) == 0
        pages.add(place.read_bytes())
    assert len(pages) == 1
    assert "kv-aware" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"), [("", "this is a directory"), ("none/page.html", "there is no such directory")]
)
def test_a_place_that_cannot_be_is_refused_first(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is played."""
    assert main([*WORDS, "--html", str(tmp_path / name)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


def test_a_file_that_is_refused_leaves_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """What was played is not lost: it is printed, and the status says that the page is missing."""
    assert main([*WORDS, "--strategies", "unified", "--html", "/dev/full"]) == 1
    out, err = capsys.readouterr()
    assert "unified" in out
    assert "/dev/full: No space left on device" in err
