"""One value or a list of alternatives."""

from control_plane.policy.alternatives import MAX_ALTERNATIVES, OneOrMore
from control_plane.policy.scalars import Integer

KIND = OneOrMore(Integer(0, 9))


def test_what_it_says_of_itself() -> None:
    """Editors take both forms, people read both, a default is shown in the long one."""
    one = Integer(0, 9).schema()
    assert KIND.schema() == {
        "anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_ALTERNATIVES}]
    }
    assert KIND.describe() == "0..9, or a list of alternatives"
    assert KIND.plain((1, 2)) == [1, 2]
    assert list(KIND.blocks()) == []
