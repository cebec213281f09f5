"""What goes wrong in a replay, and when: faults of pods as words of a command line.

Pure. Pods are numbered from 1; times are seconds of the replay, from its first request.

    slow:POD:X          every step lasts X times as long, for good
    slow:POD:X@T..T     … from the first time to the second
    crash:POD@T         the process ends, connections are refused from then on
    restart:POD@T..T    … until the second time, when it is back with an empty cache
    hang:POD@T..T       it takes requests and computes nothing; afterwards it goes on where it was
    fail:POD:X@T..T     a share X of its requests gets a 500 in place of a first token; without times, for good

    >>> fault("slow:2:1.5")
    Fault(kind='slow', pod=2, start_s=0.0, end_s=None, factor=1.5)
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["slow", "crash", "restart", "hang", "fail"]

_NUMBER: Final = r"\d+(?:\.\d+)?"
_FORM: Final = re.compile(
    rf"(?P<kind>\w+):(?P<pod>\d+)(?::(?P<factor>{_NUMBER}))?(?:@(?P<start>{_NUMBER})(?:\.\.(?P<end>{_NUMBER}))?)?",
    re.ASCII,
)
_FORMS: Final = {
    "slow": "slow:POD:X or slow:POD:X@T..T",
    "crash": "crash:POD@T",
    "restart": "restart:POD@T..T",
    "hang": "hang:POD@T..T",
    "fail": "fail:POD:X or fail:POD:X@T..T",
}
_WITH_FACTOR: Final = ("slow", "fail")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one pod; `end_s` is None where it lasts."""

    kind: Kind
    pod: int
    start_s: float = 0.0
    end_s: float | None = None
    factor: float = 1.0

    def __str__(self) -> str:
        """As `fault` reads it."""
        has_factor = self.kind in _WITH_FACTOR
        factor = f":{self.factor:g}" if has_factor else ""
        if has_factor and self.end_s is None:
            return f"{self.kind}:{self.pod}{factor}"
        return f"{self.kind}:{self.pod}{factor}@{self.start_s:g}" + ("" if self.end_s is None else f"..{self.end_s:g}")

    def contradicts(self, other: "Fault") -> bool:
        """Whether both want the same of one pod at the same time, so that the end of one would undo the other."""
        if self.pod != other.pod or _what(self.kind) != _what(other.kind):
            return False
        return (self.end_s is None or other.start_s < self.end_s) and (
            other.end_s is None or self.start_s < other.end_s
        )


def _what(kind: Kind) -> Kind:
    """A restart is a crash that has an end."""
    return "crash" if kind == "restart" else kind


def fault(text: str) -> Fault:
    """Reads one fault; raises ValueError, which says how that kind is written."""
    found = _FORM.fullmatch(text)
    kind = next((kind for kind in get_args(Kind) if found and found["kind"] == kind), None)
    if found is None or kind is None:
        raise ValueError(f"{text!r} is no fault; there are {', '.join(_FORMS.values())}")
    has_factor, has_start, has_end = (found[name] is not None for name in ("factor", "start", "end"))
    is_right = {
        "slow": has_factor and has_start == has_end,
        "crash": not has_factor and has_start and not has_end,
        "restart": not has_factor and has_end,
        "hang": not has_factor and has_end,
        "fail": has_factor and has_start == has_end,
    }
    if not is_right[kind]:
        raise ValueError(f"{text!r} is no fault; it is written {_FORMS[kind]}")
    start = float(found["start"] or 0)
    end = float(found["end"]) if has_end else None
    if int(found["pod"]) < 1 or (end is not None and end <= start) or (has_factor and float(found["factor"]) <= 0):
        raise ValueError(f"{text!r}: pods count from 1, the end comes after the start, and X is positive")
    factor = float(found["factor"] or 1)
    if kind == "fail" and factor > 1:
        raise ValueError(f"{text!r}: X is a share, at most 1")
    return Fault(kind, int(found["pod"]), start, end, factor)
