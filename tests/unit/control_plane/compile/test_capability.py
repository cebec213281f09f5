"""What an Envoy takes is judged by what it tells."""

import pytest

from control_plane.compile import NEWEST_TESTED, OLDEST_TESTED, Feature, Node, capabilities
from control_plane.compile.capability import _NEEDS, _Need


def all_extensions() -> frozenset[str]:
    """Every extension that any feature needs."""
    return frozenset(name for need in _NEEDS.values() for name in need.extensions)


def _in_order() -> list[tuple[Feature, _Need]]:
    """The table in the order of the features."""
    return [(feature, _NEEDS[feature]) for feature in Feature]


def test_every_feature_has_its_need() -> None:
    """No feature is forgotten in the table."""
    assert set(_NEEDS) == set(Feature)


def test_the_newest_envoy_lacks_nothing() -> None:
    """Version and full list of extensions satisfy everything."""
    assert capabilities(Node(id="x", version=NEWEST_TESTED, extensions=all_extensions())).missing == ()
    assert capabilities(Node(id="x", version=NEWEST_TESTED)).missing == ()


def test_an_envoy_that_tells_nothing_is_an_old_one() -> None:
    """Neither version nor extensions: what the oldest tested Envoy takes, and nothing newer."""
    silent = capabilities(Node(id="x"))
    assert silent == capabilities(Node(id="x", version=OLDEST_TESTED))
    assert not silent.has(Feature.STREAM_USAGE)
    assert silent.has(Feature.PICKER)


@pytest.mark.parametrize("feature", [feature for feature, need in _NEEDS.items() if need.extensions])
def test_a_missing_extension_takes_its_feature_away(feature: Feature) -> None:
    """An Envoy built without an extension never gets it, whatever its version."""
    for name in _NEEDS[feature].extensions:
        node = Node(id="x", version=NEWEST_TESTED, extensions=all_extensions() - {name})
        assert not capabilities(node).has(feature)


@pytest.mark.parametrize("feature", [feature for feature, need in _NEEDS.items() if need.since > (1, 0, 0)])
def test_a_new_field_needs_its_version(feature: Feature) -> None:
    """One version earlier the feature is left out, though the extension is there."""
    major, minor, patch = _NEEDS[feature].since
    assert not capabilities(Node(id="x", version=(major, minor - 1, 9), extensions=all_extensions())).has(feature)
    assert capabilities(Node(id="x", version=(major, minor, patch), extensions=all_extensions())).has(feature)


def test_what_is_missing_is_said_in_words() -> None:
    """Each missing feature is one line, in a stable order."""
    missing = capabilities(Node(id="x", version=(1, 37, 0))).missing
    assert missing == tuple(feature.value for feature, need in _in_order() if need.since > (1, 37, 0))
    assert Feature.STREAM_USAGE.value in missing


def test_equal_envoys_are_equal_keys() -> None:
    """Capabilities do not depend on who the node is, nor on extensions that nobody needs."""
    one = capabilities(Node(id="a", cluster="x", region="r", version=NEWEST_TESTED, extensions=all_extensions()))
    other = capabilities(Node(id="b", version=NEWEST_TESTED, extensions=all_extensions() | {"something.else"}))
    assert hash(one) == hash(other)
    assert one == other
