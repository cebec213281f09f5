"""Ablations: what is switched off exists, comes back, and is a line of the table."""

from importlib import import_module

import pytest

from bench.ablations import ABLATIONS, Without, made, without
from tests.unit.bench.report.rows import row
from tests.unit.bench.report.test_proof import FOUND, KNEES, PROOF


@pytest.mark.parametrize("each", ABLATIONS, ids=lambda each: each.words)
def test_what_is_switched_off_exists_and_comes_back(each: Without) -> None:
    """A constant that was renamed would switch off nothing, and the table would not tell."""
    before = {path: _value(path) for path in each.constants}
    assert before != each.constants or not before
    with without(each.constants):
        assert {path: _value(path) for path in each.constants} == each.constants
    assert {path: _value(path) for path in each.constants} == before


def test_constants_come_back_after_an_error() -> None:
    """A run that fails leaves the next one the product as it is."""
    (each, *_) = [each for each in ABLATIONS if each.constants]
    before = {path: _value(path) for path in each.constants}
    with pytest.raises(ZeroDivisionError), without(each.constants):
        raise ZeroDivisionError
    assert {path: _value(path) for path in each.constants} == before


def test_the_table_has_a_line_for_each() -> None:
    """Means over all cells, the worst one and where, and the means of workloads, of our rule alone."""
    slower = {cell: row("kv-aware", 400, kind="product") for cell in FOUND if cell.strategy == "kv-aware"}
    text = made(PROOF, KNEES, FOUND, {"nothing": {}, "`x`": slower})
    lines = text.splitlines()
    assert lines[0] == "| without | mean | worst cell | which | chat | rag |"
    assert lines[2] == "| nothing | 1.000 | 2.00 | rag, h100-8b at 0.5 | 0.707 | 1.414 |"
    assert lines[3] == "| `x` | 4.000 | 4.00 | chat, h100-8b at 0.5 | 4.000 | 4.000 |"


def _value(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
