"""A YAML file that is one declared block, read with the findings of a policy: scenarios, drills."""

from typing import TypeVar

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Block
from control_plane.policy.nodes import compose, split_lines
from control_plane.policy.reader import Reader, RefusedError

_B = TypeVar("_B", bound=Block)


def read_block(text: str, file: str, block: type[_B]) -> tuple[_B | None, Reader]:
    """The block that `text` is, None where it cannot be read; the reader has the findings and the marks. Never raises.

    `file` is the name for findings.
    """
    reader = Reader(file, split_lines(text))
    root, problems = compose(text)
    for problem in problems:
        reader.report_problem(problem)
    if root is None:
        return None, reader
    try:
        return BlockOf(block).read(reader, root, ""), reader
    except RefusedError:
        return None, reader
