"""Text to token ids by a `tokenizer.json`, with a memory for what was said before. Pure.

    encoder = Encoder(content)
    plan = encoder.plan(text)              # looks up what is known: cheap
    ids = encoder.finish(plan, encoder.work(plan))

A conversation comes back with every turn, so a text is cut into *pieces* whose token ids do not depend on what stands
around them, and the ids of pieces are remembered:

- at special tokens (`<|im_end|>`), which tokenizers look for before anything else;
- within a long piece, at a space between two Latin letters, about every `PIECE_CHARS`: the usual tokenizers split into
  words there first, and never merge across.

Neither holds for every tokenizer, so both are tried when one is loaded, and the second also on the first long texts
that come: whoever fails is asked for whole texts.

`pieces` and `work` may be done in another thread: they only read, and the library releases the interpreter meanwhile.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import numpy as np
import xxhash
from tokenizers import Tokenizer

from ext_proc.tokens.errors import TokenizerError

PIECE_CHARS: Final = 2_048
"""Shorter pieces cost more to look up, longer ones lose more where two prompts part."""

SMALL_CHARS: Final = 256
"""Shorter pieces are put together, from the beginning on: a text of special tokens only has hundreds of thousands."""

MEMORY_BYTES: Final = 32 << 20
"""Of ids that are remembered, per tokenizer: about eight million tokens."""

_ENTRY_BYTES: Final = 200
"""What an entry takes beside its ids, about."""

MAX_TEXT_CHARS: Final = 8 << 20
"""About two million tokens, more than any context; longer texts are not tokenised."""

TRIALS: Final = 8
"""So many of the first long texts are tokenised as a whole, too."""

_SPACE: Final = re.compile("(?<=[A-Za-z]) (?=[A-Za-z])")
_PROBE: Final = (
    "It is a fact of the matter, in the end, that words are words. \n\n  Two spaces  and\ta tab; it's 3.14 o'clock, "
    "don't you think so? Grüße aus Köln, über alle Maßen 你好 world naïve café\n- item one\n- item two\r\n\r\nfor i in "
    "range(10):\n    print(i, end=' ')\n\nThe quick brown fox jumps over the lazy dog and one of the cats on the mat. "
)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text in pieces, with the names that they are remembered under."""

    pieces: tuple[str, ...]
    keys: tuple[bytes, ...]
    is_cut: bool
    """Whether a long piece was cut."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A text in pieces. `known` has the ids of those that are remembered; `missing` are the others."""

    pieces: tuple[str, ...]
    keys: tuple[bytes, ...]
    known: Mapping[bytes, bytes]
    missing: Mapping[bytes, str]
    is_cut: bool
    """As of `Pieces`."""

    @property
    def missing_chars(self) -> int:
        """How much is to be tokenised."""
        return sum(map(len, self.missing.values()))


@dataclass(frozen=True, slots=True)
class Work:
    """What came of a plan's missing pieces; `whole` are the ids of the whole text, where that was to be tried."""

    made: Mapping[bytes, bytes]
    whole: bytes | None = None


class Encoder:
    """One tokenizer. Mutable: the memory, how far it is trusted to be cut. `plan` and `finish` are for one thread."""

    def __init__(self, content: bytes) -> None:
        """Raises TokenizerError."""
        try:
            with _library("it is no tokenizer"):
                self._tokenizer = Tokenizer.from_buffer(content)
        except ValueError as error:
            raise TokenizerError(str(error)) from error
        # Engines do neither.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._memory_bytes = 0
        self._trials_left = TRIALS
        self._special: re.Pattern[str] | None = None
        self._cuts = False
        try:
            self._try_out()
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"it was tried out: {error}") from error

    @property
    def cuts_long_texts(self) -> bool:
        """Whether a long text is tokenised in pieces, so that a known beginning costs nothing."""
        return self._cuts

    @property
    def memory_bytes(self) -> int:
        """What is remembered, about."""
        return self._memory_bytes

    def pieces(self, text: str) -> Pieces:
        """Cuts a text: up to some tenths of a second for the longest. Raises ValueError for one that is too long."""
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"it has more than {MAX_TEXT_CHARS:,} characters")
        cut, is_cut = _cut(text, self._special, cuts=self._cuts, size=PIECE_CHARS)
        pieces = tuple(_grouped(cut, SMALL_CHARS))
        keys = tuple(xxhash.xxh3_128_digest(piece.encode("utf-8", "surrogatepass")) for piece in pieces)
        return Pieces(pieces, keys, is_cut)

    def plan(self, text: str | Pieces) -> Plan:
        """How a text is put together from what is known. Raises as `pieces`."""
        given = self.pieces(text) if isinstance(text, str) else text
        pieces, keys = given.pieces, given.keys
        known, missing = {}, {}
        for key, piece in zip(keys, pieces, strict=True):
            ids = self._memory.get(key)
            if ids is None:
                missing[key] = piece
            else:
                self._memory.move_to_end(key)
                known[key] = ids
        return Plan(pieces, keys, known, missing, given.is_cut)

    def work(self, plan: Plan) -> Work:
        """Tokenises what is missing. Raises ValueError for what the tokenizer does not take."""
        whole = None
        if plan.is_cut and self._trials_left > 0:
            whole = self._ids("".join(plan.pieces))
        return Work({key: self._ids(piece) for key, piece in plan.missing.items()}, whole)

    def finish(self, plan: Plan, work: Work, *, has_special_tokens: bool) -> bytes:
        """The ids of the whole text as 32-bit little-endian numbers."""
        ids = b"".join(plan.known.get(key) or work.made.get(key, b"") for key in plan.keys)
        if work.whole is not None:
            self._trials_left -= 1
            if work.whole != ids:
                self._cuts = False
                self._forget()
                ids = work.whole
        if self._cuts or not plan.is_cut:
            for key, made in work.made.items():
                self._remember(key, made)
        before, after = self._around if has_special_tokens else (b"", b"")
        return before + ids + after

    def _try_out(self) -> None:
        """Finds out what surrounds a prompt, and how texts may be cut."""
        self._around = self._special_around()
        special = _splitting(self._tokenizer)
        if special and self._is_same(self._probe(special), _pattern(special), cuts=False):
            self._special = _pattern(special)
        self._cuts = self._is_same(_PROBE * 2, self._special, cuts=True)

    def _ids(self, text: str, *, has_special_tokens: bool = False) -> bytes:
        with _library("the tokenizer does not take it"):
            found = self._tokenizer.encode(text, add_special_tokens=has_special_tokens).ids
        return np.asarray(found, dtype="<u4").tobytes()

    def _is_same(self, text: str, special: re.Pattern[str] | None, *, cuts: bool) -> bool:
        """Whether pieces come to the same as the whole; every place that may be cut is."""
        pieces, _ = _cut(text, special, cuts=cuts, size=1)
        return b"".join(map(self._ids, pieces)) == self._ids(text)

    def _probe(self, special: Sequence[str]) -> str:
        first, last = special[0], special[-1]
        return f"{first}user\n{_PROBE}{last}\n{first} {_PROBE}{last}{first}a{last}"

    def _special_around(self) -> tuple[bytes, bytes]:
        """The tokens of beginning and end, as the tokenizer's post-processor puts them."""
        bare = self._ids("a b")
        with_special = self._ids("a b", has_special_tokens=True)
        start = next((at for at in range(0, len(with_special), 4) if with_special[at : at + len(bare)] == bare), None)
        if start is None:
            return b"", b""
        return with_special[:start], with_special[start + len(bare) :]

    def _remember(self, key: bytes, ids: bytes) -> None:
        if key in self._memory:
            return
        self._memory[key] = ids
        self._memory_bytes += len(ids) + _ENTRY_BYTES
        while self._memory_bytes > MEMORY_BYTES:
            _, gone = self._memory.popitem(last=False)
            self._memory_bytes -= len(gone) + _ENTRY_BYTES

    def _forget(self) -> None:
        self._memory.clear()
        self._memory_bytes = 0


@contextmanager
def _library(words: str) -> Iterator[None]:
    """What the library does not take is a ValueError with these words. It raises nothing special, and where it fails
    itself (a *panic*) something that is no `Exception`: only its name tells."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{words}: {str(error)[:200]}") from error


def _splitting(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The special tokens at which a text may be cut: those that take nothing of what stands beside them, and are no
    part of one that does."""
    added: Mapping[int, Any] = tokenizer.get_added_tokens_decoder()
    simple = {
        token.content
        for token in added.values()
        if token.special and not (token.normalized or token.lstrip or token.rstrip or token.single_word)
    }
    others = [token.content for token in added.values() if token.content not in simple]
    return tuple(sorted(text for text in simple if text and not any(text in other for other in others)))


def _pattern(special: Sequence[str]) -> re.Pattern[str]:
    """Finds the longest one at each place, as tokenizers do.

    They begin alike (`<|reserved_special_token_…`, a thousand `<SPECIAL_…`), and `re` tries alternatives one after the
    other: so a common beginning is written, and looked at, once.
    """
    return re.compile(_any_of(sorted(special)))


def _any_of(texts: Sequence[str]) -> str:
    """The regular expression for any of these, the longest first; they are sorted and differ."""
    if len(texts) == 1:
        return re.escape(texts[0])
    start = _common_start(texts[0], texts[-1])
    rest = [text[len(start) :] for text in texts if text != start]
    branches = [_any_of(list(group)) for _, group in groupby(rest, key=itemgetter(0))]
    optional = "?" if len(rest) < len(texts) else ""
    return f"{re.escape(start)}(?:{'|'.join(branches)}){optional}"


def _common_start(one: str, other: str) -> str:
    differ = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differ, min(len(one), len(other)))]


def _cut(text: str, special: re.Pattern[str] | None, *, cuts: bool, size: int) -> tuple[tuple[str, ...], bool]:
    """The pieces of a text, none of them empty, and whether any is the result of a cut within."""
    parts = list(_parts(text, special)) if special is not None else [text]
    if not cuts or all(len(part) <= size for part in parts):
        return tuple(part for part in parts if part), False
    pieces = [piece for part in parts for piece in _within(part, size) if piece]
    return tuple(pieces), len(pieces) > sum(map(bool, parts))


def _grouped(pieces: Sequence[str], size: int) -> Iterator[str]:
    """Runs of pieces that are shorter than `size`, joined until they are not: equal beginnings have equal groups, and
    a long piece is one by itself wherever it stands."""
    small: list[str] = []
    length = 0
    for piece in pieces:
        if len(piece) >= size or length >= size:
            if small:
                yield "".join(small)
            small, length = [], 0
        if len(piece) >= size:
            yield piece
        else:
            small.append(piece)
            length += len(piece)
    if small:
        yield "".join(small)


def _parts(text: str, special: re.Pattern[str]) -> Iterator[str]:
    """A text cut before and behind every special token; the token and what stands between two are parts."""
    at = 0
    for found in special.finditer(text):
        yield text[at : found.start()]
        yield found.group()
        at = found.end()
    yield text[at:]


def _within(part: str, size: int) -> Iterator[str]:
    """A long part, cut from its beginning on, so that equal beginnings have equal pieces."""
    at = 0
    while len(part) - at > size:
        found = _SPACE.search(part, at + size)
        if found is None:
            break
        yield part[at : found.start()]
        at = found.start()
    yield part[at:]
