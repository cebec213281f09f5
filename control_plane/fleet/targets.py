"""What sources find, and how a file of targets says it. Pure: values and text, no I/O.

A file of targets has the shape of Prometheus' file-based service discovery (`file_sd_config`), in YAML or JSON:

    - targets: ["10.0.0.1:8000", "10.0.0.2:8000"]
      labels: {region: us-east, zone: us-east-1a, weight: "50", gpu: h100}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.policy.addresses import EndpointAddress
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.kinds import ScalarKind, ValueRefusedError
from control_plane.policy.names import MAX_LABEL, MAX_LABELS, MAX_NAME, PLACE
from control_plane.policy.nodes import Problem, compose, split_lines
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.scalars import MAX_UINT32, Boolean, Integer, Text

HIDDEN_PREFIX = "__"
"""Labels of this prefix are Prometheus' own business, which drops them after relabelling; here they are ignored."""

_WEIGHT = Integer(1, MAX_UINT32)
# Wider than the policy's own labels: these files are written by other tools, for other readers, too.
_LABEL_KEY = Text("the key of a label (letters, digits, `.`, `_`, `-`, `/`)", "[A-Za-z0-9_][A-Za-z0-9._/-]*", MAX_NAME)
_LABEL_VALUE = Text("the value of a label (printable characters)", r"[^\x00-\x1f\x7f]*", MAX_LABEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An endpoint as a source found it; empty fields and no weight mean that the source does not say.

    `address` is `ip:port` or `[v6]:port` in exactly the text that Envoy prints. Who is `draining` wants nothing new.
    """

    address: str
    region: str = ""
    zone: str = ""
    weight: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    draining: bool = False


class TargetsError(Exception):
    """A file of targets cannot be used; the text says why, with `file:line:column`."""


@block()
class TargetGroup(Block):
    """Targets with what they have in common."""

    targets: tuple[str, ...] = setting(ListOf(EndpointAddress()), doc="Addresses.")
    labels: Mapping[str, str] = setting(
        MapOf(_LABEL_KEY, _LABEL_VALUE, MAX_LABELS), default_factory=dict, hash=False, doc="Labels of all of them."
    )


def read_targets(data: bytes, file: str) -> tuple[Target, ...]:
    """The targets of a file's content, each address once (first come), by address.

    `file` is the name for errors. Raises TargetsError.
    """
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise TargetsError(f"{file}: the byte at {error.start} is not UTF-8") from error
    reader = Reader(file, split_lines(text))
    root, problems = compose(text)
    for problem in problems:
        reader.report_problem(_in_our_words(problem))
    found: tuple[Target, ...] = ()
    if root is not None:
        try:
            groups = ListOf(BlockOf(TargetGroup)).read(reader, root, "")
            found = _unique(target for index, group in enumerate(groups) for target in _targets(group, index, reader))
        except RefusedError:
            pass  # the findings are with the reader
    if reader.has_errors:
        raise TargetsError(_summary(reader))
    return found


def _targets(group: TargetGroup, index: int, reader: Reader) -> Iterable[Target]:
    labels = {key: value for key, value in group.labels.items() if not key.startswith(HIDDEN_PREFIX)}
    path = f"[{index}].labels"
    region = _label(labels, "region", PLACE, path, reader)
    zone = _label(labels, "zone", PLACE, path, reader)
    weight = _label(labels, "weight", _WEIGHT, path, reader)
    draining = bool(_label(labels, "draining", Boolean(), path, reader))
    for address in group.targets:
        yield Target(
            address=address, region=region or "", zone=zone or "", weight=weight, labels=labels, draining=draining
        )


def _label(labels: dict[str, str], key: str, kind: ScalarKind[Any], path: str, reader: Reader) -> Any:
    """Takes a label with a meaning out of `labels`; None where it is not there, is empty or is wrong (reported)."""
    text = labels.pop(key, "")
    if not text:  # to Prometheus an empty label is the same as none
        return None
    try:
        return kind.parse(text)
    except ValueRefusedError as refused:
        reader.report_at(f"{path}.{key}", refused.code, refused.message, refused.hint)
        return None


def _unique(targets: Iterable[Target]) -> tuple[Target, ...]:
    by_address: dict[str, Target] = {}
    for target in targets:
        by_address.setdefault(target.address, target)
    return tuple(by_address[address] for address in sorted(by_address))


def _in_our_words(problem: Problem) -> Problem:
    """The hints about YAML itself are right for any file, the one about an empty policy is not."""
    if problem.code is not Code.EMPTY:
        return problem
    return Problem(problem.line, problem.column, problem.code, problem.message, "a list of nobody is written `[]`")


def _summary(reader: Reader) -> str:
    first, *others = reader.diagnostics()
    hint = f" ({first.hint})" if first.hint else ""
    more = f"; and {len(others)} more" if others else ""
    return f"{first.file}:{first.line}:{first.column}: {first.message}{hint}{more}"
