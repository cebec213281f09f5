"""The contents of files, as the compiler gets them."""

from control_plane.compile.materials import NO_MATERIALS, Materials, materials_of


def test_files_by_path() -> None:
    """A file is found by its path, a missing one is None."""
    found = materials_of({"b": b"2", "a": b"1"})
    assert (found.get("a"), found.get("b"), found.get("c")) == (b"1", b"2", None)


def test_equal_contents_are_equal() -> None:
    """Order does not count: equal contents are one key of a cache and one version, others are others."""
    one, other = materials_of({"a": b"1", "b": b"2"}), materials_of({"b": b"2", "a": b"1"})
    assert (one, hash(one), one.version) == (other, hash(other), other.version)
    versions = {one.version, materials_of({"a": b"12", "b": b""}).version, NO_MATERIALS.version}
    assert len(versions) == 3


def test_a_repr_shows_no_content() -> None:
    """Contents may be private keys, and a repr may end up in a log."""
    assert repr(Materials((("key.pem", b"secret"),))) == "Materials(key.pem)"
