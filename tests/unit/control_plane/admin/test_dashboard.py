"""The page at `/`: who gets it, what it may load, and that what it shows is in `/status`."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from control_plane.admin.dashboard import INDEX
from control_plane.sidecar.sidecar import Sidecar
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, get, pick, text
from tests.unit.control_plane.sidecar.in_process import edit, running

ROOT = Path(__file__).parents[4]
PAGES = ROOT / "control_plane" / "admin" / "pages"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
notifications: {webhooks: [{name: ops, url: "http://127.0.0.1:1/"}]}
pools:
  p:
    endpoints: [{address: 127.0.0.1:1}, {address: 127.0.0.1:2}, {file: more.json}]
    health: {gpu: {url: "http://{host}:{port}/gpu-status", interval: 200ms}}
"""

MADE_BY = {
    "zones": (("control_plane/fleet/shifts.py", "rows"), ("control_plane/fleet/zones.py", "rows")),
    "weights": (("control_plane/fleet/weights.py", "rows"),),
    "degraded": (("ext_proc/core/detours.py", "open"),),
    "mirrored": (("control_plane/fleet/mirror.py", "rows"),),
    "quarantine": (("control_plane/admin/status.py", "quarantine"),),
    "envoys": (("control_plane/xds/ledger.py", "row"), ("control_plane/admin/status.py", "_envoy")),
}
"""Tables that are empty while all is well and nobody is connected → whose dictionaries their rows are."""


class Page(HTMLParser):
    """What the page asks for. Mutable: collected while it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []
        self.tables: dict[str, list[tuple[str, str]]] = {}
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.inline: list[str] = []
        self._within = ""
        self._rows = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element."""
        found = {name: value or "" for name, value in attrs}
        self.attributes |= found.keys()
        self._within = tag
        if tag == "a":
            self.links.append(found["href"])
        else:
            self.loaded += [found[name] for name in ("src", "href") if name in found]
        if "data-value" in found:
            self.values.append(found["data-value"])
        if "data-rows" in found:
            self._rows = found["data-rows"]
            self.tables[self._rows] = []
        if "data-field" in found:
            self.tables[self._rows].append((found["data-field"], found.get("data-as", "")))

    def handle_data(self, data: str) -> None:
        """A text."""
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        """The end of an element."""
        self._within = ""


def parsed(html: str) -> Page:
    """A page, read."""
    page = Page()
    page.feed(html)
    return page


PAGE = parsed((PAGES / "index.html").read_text())
SCRIPT = (PAGES / "dashboard.js").read_text()


def rows(value: Any, path: str) -> Iterator[Any]:
    """All that a path with stars leads to, as the script has it."""
    if not path:
        yield value
        return
    first, _, rest = path.partition(".")
    for each in (value.values() if isinstance(value, dict) else value) if first == "*" else (value[first],):
        yield from rows(each, rest)


def written_keys(path: str, function: str) -> set[str]:
    """The keys of all dictionaries that a function writes out."""
    tree = ast.parse((ROOT / path).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    assert found, f"{path} has no {function}"
    dictionaries = [node for each in found for node in ast.walk(each) if isinstance(node, ast.Dict)]
    return {str(key.value) for node in dictionaries for key in node.keys if isinstance(key, ast.Constant)}


async def test_browsers_get_the_page_and_programs_the_list(tmp_path: Path) -> None:
    """By what they take; the page has the list's links without any script."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert await text(admin, "/") == INDEX
        async with admin.get("/", headers=BROWSER) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert answer.headers["vary"] == "accept"
            policy = answer.headers["content-security-policy"]
            page = parsed(await answer.text())
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert {"/status", "/metrics", "/decisions"} <= set(page.links)
        for link in page.links:
            async with admin.get(link) as answer:
                assert answer.status in (200, 503), link
        for name in page.loaded:
            async with admin.get(name) as answer:
                assert answer.status == 200
                assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["index.html", "..%2Fserver.py", "%2e%2e%2fdashboard.py", "dashboard.js%00", ""])
async def test_nothing_else_is_served(tmp_path: Path, name: str) -> None:
    """Two files, and no way to others."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert "404" in await text(admin, f"/pages/{name}", status=404)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """Its own two files; no inline script or style, which its policy would forbid."""
    assert sorted(PAGE.loaded) == ["/pages/dashboard.css", "/pages/dashboard.js"]
    assert PAGE.inline == []
    assert not {name for name in PAGE.attributes if name.startswith("on") or name == "style"}
    for path in PAGES.iterdir():
        assert "://" not in path.read_text(), path


def test_everything_is_put_in_as_text() -> None:
    """Names and reasons come from elsewhere: the script knows no way to make HTML or code of them."""
    forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|setAttribute|srcdoc|\.style\b"
    assert re.findall(forbidden, SCRIPT) == []
    (link,) = re.findall(r"\.href = (.*);", SCRIPT)
    assert link == "`/decisions/${encodeURIComponent(text)}`", "a path of our own, whatever the id is"


def test_forms_are_known() -> None:
    """Each `data-as` is one of the script's forms, and each form is used."""
    (table,) = re.findall(r"const FORMS = \{\n(.*?)\n\};", SCRIPT, re.DOTALL)
    known = set(re.findall(r"^  (\w+)(?::|,)", table, re.MULTILINE))
    used = {form for fields in PAGE.tables.values() for _, form in fields if form}
    assert used == known


async def test_what_it_shows_is_there(tmp_path: Path) -> None:
    """Every value and every column is in `/status` or `/decisions`, in a sidecar in which a lot is wrong."""
    async with running(tmp_path, POLICY) as sidecar, admin_of(sidecar) as admin:
        await pick(sidecar)
        async with admin.post("/drain", json={"endpoints": ["p/127.0.0.1:2"]}) as answer:
            assert answer.status == 202
        await edit(sidecar, POLICY + "nonsense: 1\n")

        async def is_wrong() -> bool:
            status = await get(admin, "/status")
            sidecar_notices(sidecar)
            return bool(status["scrapes_failing"] and status["gpus_failing"] and status["notices"]["open"])

        await eventually(is_wrong, "things to be wrong")
        status = await get(admin, "/status")
        decisions = await get(admin, "/decisions")
    for value in PAGE.values:
        assert list(rows(status, value)), value
    for table, fields in PAGE.tables.items():
        top = table.partition(".")[0]
        if top in MADE_BY:
            assert top in status
            made: set[str] = set().union(*(written_keys(*maker) for maker in MADE_BY[top]))
            assert {field for field, _ in fields} <= made, table
            continue
        found = list(rows(decisions if top == "decisions" else status, table))
        assert found, table
        for field, _ in fields:
            if not field.startswith("@") and (table, field) not in SOMETIMES:
                assert list(rows(found[0], field)), f"{table}: {field}"


SOMETIMES = {
    ("pools.*.endpoints.*", "told.kv_usage.value"),
    ("pools.*.endpoints.*", "gpus"),
    ("drains.*", "why"),
}
"""What engines and exporters that answer have told, and why a pod drains itself: other tests have seen them there."""


def sidecar_notices(sidecar: Sidecar) -> None:
    """Moves the clock, which stands, so that notices are looked for."""
    clock: Any = sidecar.clock
    clock.now += 1.0
