"""Tests of the example, as a package of one's own would have them: `pytest examples/own-strategy`."""

import pytest
from acme_routing import Cheapest

from ext_proc.strategy_conformance import check


def test_it_keeps_the_rules() -> None:
    """All that kvpilot asks of a strategy."""
    check(lambda: Cheapest({"price": {"h100": 3.0, "l4": 0.7}}))


def test_parameters_are_refused() -> None:
    """With words for the operator."""
    with pytest.raises(ValueError, match="`price` is missing"):
        Cheapest({})
