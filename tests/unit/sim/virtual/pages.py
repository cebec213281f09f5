"""Reads a page as a program would: which elements there are, and what tables and plots say."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "path", "circle"}
"""Elements without an end tag (of those in a page; SVG's close themselves)."""


@dataclass
class TableFound:
    """A table by its words."""

    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)


class PageFound(HTMLParser):
    """Raises AssertionError where tags do not match."""

    def __init__(self, text: str) -> None:
        """Reads all of it."""
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[TableFound] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the element."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append(TableFound())
        if tag == "tr":
            self.tables[-1].rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element that closes itself."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Closes the last one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Notes the words by the element in which they are."""
        if not self.open or not data.strip():
            return
        inside = self.open[-1]
        self.texts.setdefault(inside, []).append(data)
        if inside == "caption":
            self.tables[-1].caption += data
        if inside in {"td", "th"}:
            self.tables[-1].rows[-1].append(data)

    def table(self, beginning: str) -> TableFound:
        """The one table whose caption begins so."""
        (found,) = [table for table in self.tables if table.caption.startswith(beginning)]
        return found

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for found, attributes in self.tags if found == tag]
