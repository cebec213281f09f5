"""What all kinds have in common: shapes and nothing."""

import pytest

from control_plane.policy.kinds import Kind, ScalarKind, node_noun, scalar_text, shape_error
from control_plane.policy.nodes import Mapping, Node, Scalar, Sequence
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.scalars import Integer
from tests.unit.control_plane.policy.samples import FILE


@pytest.mark.parametrize(
    ("node", "code", "message"),
    [
        (Sequence(1, 1), "KP204", "expected a number, found a list"),
        (Mapping(1, 1), "KP204", "expected a number, found a mapping"),
        (Scalar(1, 1, text=""), "KP205", "expected a number, found nothing"),
        (Scalar(1, 1, text="~"), "KP205", "expected a number, found nothing"),
    ],
)
def test_scalar_text_refuses(node: Node, code: str, message: str) -> None:
    """A single value is wanted, and the finding says what is there instead."""
    reader = Reader(FILE, [""])
    with pytest.raises(RefusedError):
        scalar_text(reader, node, "a number")
    assert [(found.code, found.message) for found in reader.diagnostics()] == [(code, message)]


def test_scalar_text() -> None:
    """An empty text in quotes is a text."""
    assert scalar_text(Reader(FILE, [""]), Scalar(1, 1, text="", plain=False), "a text") == ""


def test_shape_error() -> None:
    """Where a list or mapping is wanted, nothing and something else are told apart."""
    reader = Reader(FILE, ["", ""])
    assert isinstance(shape_error(reader, Scalar(1, 1, text=""), "a list"), RefusedError)
    shape_error(reader, Scalar(2, 1, text="x"), "a list", "hint")
    assert [(found.code, found.message, found.hint) for found in reader.diagnostics()] == [
        ("KP205", "expected a list, found nothing", ""),
        ("KP204", "expected a list, found the text `x`", "hint"),
    ]


def test_node_noun_of_a_quoted_null() -> None:
    """What is quoted is a text, even if it reads `null`."""
    assert node_noun(Scalar(1, 1, text="null", plain=False)) == "the text `null`"


def test_show() -> None:
    """Defaults are shown as a file would say them."""
    assert Integer(0, 9).show(5) == "5"
    assert Kind[bool]().show(False) == "false"
    assert Kind[str]().show("a b") == "a b"


def test_bases_are_abstract() -> None:
    """A kind that forgets a method says so."""
    node = Scalar(1, 1)
    reader = Reader(FILE, [""])
    for call in (
        lambda: Kind[int]().read(reader, node, ""),
        lambda: Kind[int]().schema(),
        lambda: Kind[int]().describe(),
        lambda: ScalarKind[int]().noun,
        lambda: ScalarKind[int]().parse(""),
    ):
        with pytest.raises(NotImplementedError):
            call()
