"""Pages in JSON."""

import pytest

from ext_proc.signals.engines.json_pages import MAX_JSON_BYTES, json_of, number_in


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\x80"', b'{"\x80": 1}', b"[" * 1_000_000, b"NaN"])
def test_no_json(body: bytes) -> None:
    """What is no JSON is nothing, and does not raise."""
    assert json_of(body) is None


def test_huge_json() -> None:
    """Up to the limit a page is read, beyond it none is."""
    assert json_of(b"[]" + b" " * (MAX_JSON_BYTES - 2)) == []
    assert json_of(b"[]" + b" " * (MAX_JSON_BYTES - 1)) is None


def test_numbers_in_objects() -> None:
    """Only numbers that an engine can mean are taken, and only from objects."""
    values = {"a": 3, "b": -1, "c": "3", "d": True, "e": 10**400, "f": 0.5}
    assert [number_in(values, name) for name in values] == [(3, "a"), None, None, None, None, (0.5, "f")]
    assert number_in([3], "a") is None
    assert number_in(values, "g") is None
