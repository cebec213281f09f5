"""Tables in Markdown, and the places of a document that they go to. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first `words` columns are words, and whose others are numbers."""
    marks = ["---"] * words + ["---:"] * (len(head) - words)
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(lines: Iterable[str]) -> str:
    """Commands, one per line."""
    return "\n".join(("```", *lines, "```"))


def number(value: float) -> str:
    """Milliseconds: two digits that count at least."""
    if value == float("inf"):
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def filled(document: str, blocks: Mapping[str, str]) -> str:
    """The document with each block between its markers. Raises ValueError for one that has none."""
    for name, block in blocks.items():
        marked = re.compile(rf"(<!-- report:{re.escape(name)} -->\n).*?(<!-- /report -->)", re.DOTALL)
        document, count = marked.subn(lambda found, block=block: f"{found[1]}{block}\n{found[2]}", document)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the document has {count} places marked <!-- report:{name} -->, not one")
    return document
