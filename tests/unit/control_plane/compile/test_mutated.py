"""Policies as typos, bad merges and half-finished edits leave them: nothing raises, every finding has its place."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.compile import NEWEST_TESTED, Node, Services, capabilities, compile_snapshot, rendered
from control_plane.compile.findings import findings
from control_plane.fleet.model import static_fleet
from control_plane.policy import Diagnostic, Document, format_github, format_json, format_text, load_bytes
from control_plane.policy.groups import DEFAULT_GROUP
from control_plane.policy.nodes import split_lines
from ext_proc.core.address import SocketAddress
from protos.messages import Messages
from protos.messages import load as load_messages

ROOT = Path(__file__).parents[4]
FILES = sorted((ROOT / "examples").glob("*.yaml")) + sorted((ROOT / "tests" / "data" / "compile").glob("*.yaml"))

MUTANTS = 6
"""Of each file; about two hundred in all. Many thousands were tried once."""

WORDS = (
    "", "null", "true", "0", "-1", "1.5", "1e400", "99999999999999999999", "''", "[]", "{}", "[1]", "{a: b}", "10s",
    "0s", "9999999h", "nan", "*x", "&x y", "!foo bar", '"\\u0000"', '"\\uD800"', "x" * 300, "(", "'(?i)x'", "[::1]:80",
    "localhost:80", "'*'", "../x", "'%'", "MUTUAL", "DENY", "12:30:00", "'\t'", '"\\n"', "default",
)  # fmt: skip

Edit = Callable[[random.Random, list[str], int], None]


def delete(rng: random.Random, lines: list[str], at: int) -> None:
    """A line is missing."""
    del lines[at]


def double(rng: random.Random, lines: list[str], at: int) -> None:
    """A line is there twice."""
    lines.insert(at, lines[at])


def swap(rng: random.Random, lines: list[str], at: int) -> None:
    """Two lines change places."""
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def shift(rng: random.Random, lines: list[str], at: int) -> None:
    """A line has another indentation."""
    lines[at] = " " * rng.choice((0, 1, 2, 3, 8)) + lines[at].lstrip()


def retype(rng: random.Random, lines: list[str], at: int) -> None:
    """A value is something else."""
    words = list(re.finditer(r"[\w./:\"'-]+", lines[at]))
    if words:
        word = rng.choice(words)
        lines[at] = lines[at][: word.start()] + rng.choice(WORDS) + lines[at][word.end() :]


def borrow(rng: random.Random, lines: list[str], at: int) -> None:
    """A key has another key's name."""
    keys = re.findall(r"(\w+):", "\n".join(lines))
    if keys:
        lines[at] = re.sub(r"(\w+):", rng.choice(keys) + ":", lines[at], count=1)


def mistype(rng: random.Random, lines: list[str], at: int) -> None:
    """A character too many."""
    place = rng.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + rng.choice(":{}[],-#&*!|>'\"%@`\t\x00\x85\u2028\ufeff0 \r") + lines[at][place:]


def cut(rng: random.Random, lines: list[str], at: int) -> None:
    """The file ends early."""
    del lines[at + 1 :]


EDITS: tuple[Edit, ...] = (delete, double, swap, shift, retype, retype, borrow, mistype, cut)


def mutant(text: str, seed: int) -> bytes:
    """`text` after one to three edits."""
    rng = random.Random(seed)
    lines = text.split("\n")
    for _ in range(rng.randint(1, 3)):
        lines = lines or [""]
        rng.choice(EDITS)(rng, lines, rng.randrange(len(lines)))
    return "\n".join(lines).encode()


def assert_placed(found: Diagnostic, lines: list[str]) -> None:
    """A finding is about this file, inside of it, and can be printed in all forms."""
    assert found.file == "p.yaml"
    assert found.message
    assert 1 <= found.line <= len(lines)
    assert 1 <= found.column <= len(lines[found.line - 1]) + 1
    assert format_text(found)
    assert format_github(found)
    assert format_json([found])


def compile_all(document: Document, messages: Messages) -> None:
    """Compiles for every group, and reads the result back."""
    policy = document.policy
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
    for group in (DEFAULT_GROUP, *(group.name for group in policy.groups)):
        able = capabilities(Node(id="n", version=NEWEST_TESTED))
        compiled = compile_snapshot(policy, static_fleet(policy), services, able, "", "", group=group)
        assert rendered(compiled, messages)
        assert all(document.mark(path) for path in compiled.provenance.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mutants(path: Path) -> None:
    """An error leaves no policy; what has none compiles to messages of Envoy's, each with its place in the file."""
    messages, text = load_messages(), path.read_text()
    for number in range(MUTANTS):
        data = mutant(text, number)
        result = load_bytes(data, "p.yaml")
        found = result.diagnostics
        assert (result.document is None) == any(one.severity == "error" for one in found)
        if result.document is not None:
            found = (*found, *findings(result.document, messages))
            if all(one.severity == "warning" for one in found):
                compile_all(result.document, messages)
        for one in found:
            assert_placed(one, split_lines(data.decode().removeprefix("\ufeff")))
