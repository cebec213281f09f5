"""Kinds of single values: texts, numbers, words, names.

Durations and sizes are in `units.py`, numbers with a decimal point in `decimals.py`, addresses in `addresses.py`.
All read the text as written; quotes do not matter, so that `"503"` and `503` are one number and `1.10` one text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError, scalar_text
from control_plane.policy.nodes import Node
from control_plane.policy.reader import Named, Reader, RefusedError

_N = TypeVar("_N", int, float)

MAX_UINT32 = 2**32 - 1
"""Largest value of most of Envoy's numbers (`google.protobuf.UInt32Value`)."""

_TEXT_TYPES = ["string", "number", "boolean"]
"""A text as an editor sees it: without quotes `1.10` is a number to it, and `true` a boolean."""

_DIGITS = 20
"""More digits than any bound has: the check is done on the text, so that a million digits cost nothing."""


@dataclass(frozen=True, slots=True)
class Text(ScalarKind[str]):
    """A text that matches a pattern as a whole; the pattern is also understood by JSON Schema (ECMA 262)."""

    what: str
    """What it is and which characters it may have: "the name of a pool (letters, digits, …)"."""
    pattern: str
    max_length: int
    is_lower_cased: bool = False
    code: Code = Code.BAD_NAME

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return self.what

    def parse(self, text: str) -> str:
        """The text itself; raises ValueRefusedError."""
        if len(text) > self.max_length:
            raise ValueRefusedError(f"{quoted(text)} is longer than {self.max_length} characters", code=self.code)
        if re.fullmatch(self.pattern, text) is None:
            raise ValueRefusedError(f"{quoted(text)} is not {self.what}", code=self.code)
        return text.lower() if self.is_lower_cased else text

    def schema(self) -> Json:
        """A text as an editor sees it, bounded."""
        return {"type": _TEXT_TYPES, "pattern": f"^(?:{self.pattern})$", "maxLength": self.max_length}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return self.what


@dataclass(frozen=True, slots=True)
class Number(ScalarKind[_N]):
    """A number from `minimum` to `maximum`; subclasses say how one is written."""

    FORM: ClassVar[str]
    """The form of its digits, also for JSON Schema."""
    JSON_TYPE: ClassVar[str]
    WHAT: ClassVar[str]
    """What a text of that form is, for messages."""
    HINT: ClassVar[str]

    minimum: _N
    maximum: _N
    unit: str = ""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return f"{self.WHAT} from {self.show(self.minimum)} to {self.show(self.maximum)}"

    def parse(self, text: str) -> _N:
        """The number; raises ValueRefusedError."""
        if re.fullmatch(self.FORM, text) is None:
            raise ValueRefusedError(f"{quoted(text)} is not {self.WHAT}", self.HINT)
        if len(text) > _DIGITS or not self.minimum <= self.value_of(text) <= self.maximum:
            message = f"{quoted(text)} is not in {self.show(self.minimum)}..{self.show(self.maximum)}"
            raise ValueRefusedError(message, code=Code.OUT_OF_BOUNDS)
        return self.value_of(text)

    def value_of(self, text: str) -> _N:
        """The number that a text of the right form stands for."""
        raise NotImplementedError

    def schema(self) -> Json:
        """A number within its bounds, or its digits in quotes."""
        return {
            "type": [self.JSON_TYPE, "string"],
            "minimum": self.minimum,
            "maximum": self.maximum,
            "pattern": f"^{self.FORM}$",
        }

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"{self.show(self.minimum)}..{self.show(self.maximum)}{self.unit and ' ' + self.unit}"


@dataclass(frozen=True, slots=True)
class Integer(Number[int]):
    """A whole number in decimal digits."""

    # A leading zero means octal in YAML 1.1 and decimal in 1.2: neither is taken for the other here.
    FORM: ClassVar[str] = "-?(?:0|[1-9][0-9]*)"
    JSON_TYPE: ClassVar[str] = "integer"
    WHAT: ClassVar[str] = "a whole number"
    HINT: ClassVar[str] = "write it in decimal digits, without leading zeros, signs, separators or units"

    def value_of(self, text: str) -> int:
        """The digits as a number."""
        return int(text)


@dataclass(frozen=True, slots=True)
class Percent(ScalarKind[int]):
    """A whole number of percent; the sign may be left out, as Istio does."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a percentage from 0 to 100"

    def parse(self, text: str) -> int:
        """The number of percent; raises ValueRefusedError."""
        return Integer(minimum=0, maximum=100).parse(text.removesuffix("%"))

    def schema(self) -> Json:
        """A number from 0 to 100, or its digits as a text, with or without the sign."""
        return {"type": ["integer", "string"], "minimum": 0, "maximum": 100, "pattern": "^(?:0|[1-9][0-9]?|100)%?$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "0..100 (percent)"


@dataclass(frozen=True, slots=True)
class Boolean(ScalarKind[bool]):
    """`true` or `false`, and none of the other words that YAML 1.1 takes for them."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "`true` or `false`"

    def parse(self, text: str) -> bool:
        """The truth value; raises ValueRefusedError."""
        if text not in ("true", "false"):
            raise ValueRefusedError(f"{quoted(text)} is neither `true` nor `false`")
        return text == "true"

    def schema(self) -> Json:
        """A boolean, or its word in quotes."""
        return {"type": ["boolean", "string"], "pattern": "^(?:true|false)$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`true` or `false`"


@dataclass(frozen=True, slots=True)
class Choice(ScalarKind[str]):
    """One of some words. `planned` are words of a later version → what they will do."""

    words: tuple[str, ...]
    planned: Mapping[str, str] = field(default_factory=dict)
    code: Code = Code.UNKNOWN_WORD

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        shown = [f"`{word}`" for word in self.words]
        return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The word; a word that is not one gets the nearest as a hint."""
        text = scalar_text(reader, node, self.noun)
        if text in self.words:
            return text
        raise refuse_word(reader, node, text, self.words, self.planned, self.code)

    def parse(self, text: str) -> str:
        """The word itself; raises ValueRefusedError."""
        if text not in self.words:
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}", code=self.code)
        return text

    def schema(self) -> Json:
        """An enumeration."""
        return {"enum": list(self.words)}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return ", ".join(f"`{word}`" for word in self.words)


@dataclass(frozen=True, slots=True)
class Words(ScalarKind[str]):
    """Some of the known words, with commas between them: the form that Envoy's and Istio's `retryOn` have."""

    words: tuple[str, ...]

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "words with commas between them"

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The words without blanks, each checked."""
        found = [word.strip() for word in scalar_text(reader, node, self.noun).split(",")]
        refusals = [
            refuse_word(reader, node, word, self.words, {}, Code.UNKNOWN_WORD)
            for word in found
            if word not in self.words
        ]
        if refusals:
            raise refusals[0]
        return ",".join(dict.fromkeys(found))

    def schema(self) -> Json:
        """Known words only."""
        one = "|".join(re.escape(word).replace("\\-", "-") for word in self.words)
        return {"type": "string", "pattern": f"^\\s*(?:{one})\\s*(?:,\\s*(?:{one})\\s*)*$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "words with commas between: " + ", ".join(f"`{word}`" for word in self.words)


@dataclass(frozen=True, slots=True)
class NameOf(ScalarKind[str]):
    """The name of something that the file defines elsewhere; `what` is the key of its list, such as `pools`.

    Whether it is defined is only known at the end, so reading notes a reference and the checks resolve it.
    """

    what: str

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return f"the name of a {singular(self.what)}"

    def parse(self, text: str) -> str:
        """The name itself, whether there is such a thing or not."""
        return text

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The name, noted as a reference."""
        name = scalar_text(reader, node, self.noun)
        reader.references.append(Named(self.what, name, node))
        return name

    def schema(self) -> Json:
        """Any text: JSON Schema cannot look elsewhere."""
        return {"type": _TEXT_TYPES}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"name of one of the `{self.what}`"


@dataclass(frozen=True, slots=True)
class AliasFor(ScalarKind[str]):
    """Another name for something; that it is free is only known at the end, like the target of `NameOf`."""

    what: str
    text: Text

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return self.text.noun

    def parse(self, text: str) -> str:
        """The name itself, whether it is free or not; raises ValueRefusedError."""
        return self.text.parse(text)

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The name, noted as an alias."""
        name = self.text.read(reader, node, path)
        reader.aliases.append(Named(self.what, name, node))
        return name

    def schema(self) -> Json:
        """That of any name."""
        return self.text.schema()

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return self.text.describe()


def singular(what: str) -> str:
    """`pools` → `pool`: keys of lists are plurals."""
    return what.removesuffix("s")


def refuse_word(
    reader: Reader, node: Node, word: str, known: tuple[str, ...], planned: Mapping[str, str], code: Code
) -> RefusedError:
    """The error for a word that is not known, or not yet."""
    if word in planned:
        message = f"{quoted(word)} is not supported in this version ({planned[word]})"
        return reader.refuse(node, Code.UNSUPPORTED, message, f"possible now: {', '.join(known)}")
    return reader.refuse(node, code, f"{quoted(word)} is not a known word here", reader.did_you_mean(word, known))
