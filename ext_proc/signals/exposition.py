"""A metrics page, scanned for the few families that are wanted. Pure.

    >>> scan = Scanner(("vllm:num_requests_running",))
    >>> scan(b'vllm:num_requests_running{engine="0"} 3.0\\n').total("vllm:num_requests_running")
    (3.0, 'vllm:num_requests_running')

A busy engine's page has 50 KB and 450 samples, so only lines of wanted families are looked at: one pass of a compiled
expression, about a hundredth of a full parser's time. No page raises, whatever it holds: what is no number is no row.
Picks wait while a page is read, so rows and labels beyond what an engine has are left out.

Format: Prometheus text exposition 0.0.4, with OpenMetrics' exemplars and quoted names tolerated.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from ext_proc.signals.numbers import LARGEST_NUMBER, Number, ratio

# Possessive repeats keep hostile lines linear, and no label crosses the end of a line: a broken line spoils itself
# only.
_INSIDE_BRACES: Final = rb'(?:[^"}\n]++|"(?:[^"\\\n]++|\\.)*+")*+'
# No float is longer than 32 characters; the limit keeps a hostile one from costing time.
_VALUE: Final = rb"([^ \t\r\n{]{1,32}+)(?=[ \t\r\n]|\Z)"
_LABEL: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*+)"?[ \t]*+=[ \t]*+"((?:[^"\\\n]++|\\.)*+)"')
_ESCAPE: Final = re.compile(rb"\\(.)")

MAX_ROWS: Final = 1 << 15
"""Of the wanted families, in one page. 64 data-parallel ranks have some 1,300; a page of 4 MB in which vLLM has kept
every set of adapters that it ever ran has as many. Finding them takes 0.1 s."""

MAX_LABEL_BYTES: Final = 1 << 18
"""Of the rows whose labels are asked for: 64 ranks that tell a kilobyte of settings each, or 1,500 sets of adapters,
are fewer. Reading them takes 0.1 s."""

# More digits than any count of tokens has; it keeps a hostile page from making enormous integers.
_MOST_DIGITS: Final = 15

Labels = Mapping[str, str]

_Rows = dict[bytes, float]
"""Labels as bytes → value. A repeated series counts once, as its last line says."""


class Scanner:
    """Finds the samples of some families; immutable, and made once for each set of them."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` of samples, so a counter's with its `_total`."""
        self.names = tuple(dict.fromkeys(names))
        # Longest first is not needed: a name is followed by a brace or a blank, so none is taken for a longer one.
        wanted = b"|".join(re.escape(name.encode()) for name in self.names)
        self._sample = re.compile(
            rb"\n(" + wanted + rb")(?:[ \t]*+\{(" + _INSIDE_BRACES + rb")\}[ \t]*+|[ \t]++)" + _VALUE
        )
        self._quoted = re.compile(rb'\n\{"(' + wanted + rb')"(' + _INSIDE_BRACES + rb")\}[ \t]*+" + _VALUE)

    def __call__(self, page: bytes) -> "Samples":
        """The samples of the families on a page."""
        if not self.names:
            return Samples({})
        page = b"\n" + page
        # Prometheus 3 may put names inside the braces. No writer does so with only some of those that it need not.
        samples = list(islice(self._sample.finditer(page), MAX_ROWS))
        found: dict[str, _Rows] = {}
        for sample in samples or islice(self._quoted.finditer(page), MAX_ROWS):
            name, labels, text = sample.groups()
            try:
                value = float(text)
            except ValueError:
                continue
            # Engines say -1 and NaN for "no data"; neither passes.
            if 0 <= value < LARGEST_NUMBER:
                found.setdefault(name.decode(), {})[labels or b""] = value
        return Samples(found)


class Samples:
    """What a page says under the wanted names. Questions with several names are answered by the first that is there."""

    __slots__ = ("_families", "_labels", "_left")

    def __init__(self, families: Mapping[str, Mapping[bytes, float]]) -> None:
        self._families = families
        self._labels: dict[bytes, Labels] = {}
        self._left = MAX_LABEL_BYTES

    def has(self, name: str) -> bool:
        """Whether there is a row."""
        return bool(self._families.get(name))

    def rows(self, name: str) -> list[tuple[Labels, float]]:
        """Labels and value of each row. Rows of several families often have the same labels: they are read once."""
        return list(self._with_labels(self._families.get(name, {}).items()))

    def newest(self, name: str) -> list[tuple[Labels, float]]:
        """The same, the greatest values first: of a family whose values are times, they are what counts."""
        rows = self._families.get(name, {})
        return list(self._with_labels(sorted(rows.items(), key=lambda row: row[1], reverse=True)))

    def label_bytes(self) -> int:
        """How much there is to read for the labels of all rows; some 3 MB take a second."""
        return sum(map(len, set().union(*self._families.values())))

    def values(self, name: str, where: Labels | None = None) -> list[float]:
        """The value of each row whose labels include `where`."""
        rows = self._families.get(name, {})
        if not where:
            return list(rows.values())
        return [value for labels, value in self._with_labels(rows.items()) if where.items() <= labels.items()]

    def total(self, *names: str, where: Labels | None = None) -> Number | None:
        """The sum of the rows."""
        for name in names:
            if values := self.values(name, where):
                return sum(values), shown(name, where)
        return None

    def largest(self, *names: str, where: Labels | None = None) -> Number | None:
        """The greatest of the rows."""
        for name in names:
            if values := self.values(name, where):
                return max(values), shown(name, where)
        return None

    def average(self, *names: str, where: Labels | None = None) -> Number | None:
        """The mean of the rows, each a share of 0 to 1."""
        for name in names:
            found = mean_share(self.values(name, where), shown(name, where))
            if found is not None:
                return found
        return None

    def label(self, name: str, label: str) -> Number | None:
        """The first number above 0 that a row tells in this label."""
        for (value,) in self.label_numbers(name, label):
            if value:
                return value, f"{name}{{{label}}}"
        return None

    def label_numbers(self, name: str, *labels: str) -> list[tuple[int | None, ...]]:
        """The whole numbers in some labels of each row. They are sought one by one: rows that tell by labels have
        dozens of them."""
        texts, left = self._families.get(name, {}), MAX_LABEL_BYTES
        return [tuple(_number_in(text, label) for label in labels) for text in texts if (left := left - len(text)) >= 0]

    def _with_labels(self, rows: Iterable[tuple[bytes, float]]) -> Iterator[tuple[Labels, float]]:
        for text, value in rows:
            found = self._labels.get(text)
            if found is None:
                if len(text) > self._left:
                    return
                self._left -= len(text)
                found = self._labels[text] = labels_of(text)
            yield found, value


def mean_share(values: Iterable[float], source: str) -> Number | None:
    """The mean of those that are shares."""
    shares = [share for value in values if (share := ratio(value)) is not None]
    return (sum(shares) / len(shares), source) if shares else None


def label_number(labels: Labels, name: str) -> int | None:
    """A whole number in a label; `None` is written where the engine does not know."""
    text = labels.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _number_in(text: bytes, label: str) -> int | None:
    # What looks like a label inside of a value has a backslash before its quotes.
    found = re.search(rb'(?:^|[,"\s])%b"?\s*=\s*"([0-9]{1,%d})"' % (label.encode(), _MOST_DIGITS), text)
    return int(found[1]) if found else None


def labels_of(text: bytes) -> Labels:
    """The labels between a sample's braces."""
    return {name.decode(): _unescaped(value) for name, value in _LABEL.findall(text)}


def shown(name: str, where: Labels | None) -> str:
    """A family, or its rows with these labels, as Prometheus writes them."""
    if not where:
        return name
    pairs = ",".join(f'{label}="{value}"' for label, value in where.items())
    return f"{name}{{{pairs}}}"


def _unescaped(value: bytes) -> str:
    if b"\\" in value:
        value = _ESCAPE.sub(lambda match: b"\n" if match[1] == b"n" else match[1], value)
    return value.decode(errors="replace")
