"""What is done to requests and answers for load headers."""

from dataclasses import replace

from control_plane.compile.load_headers import asked, hidden
from control_plane.policy.feedback import Orca


def test_nothing_without_a_word_of_the_policy() -> None:
    """Requests and answers stay as they are."""
    assert (asked(None), hidden(None)) == ([], [])


def test_engines_are_asked() -> None:
    """Unless the client has asked itself, in the policy's form or not at all."""
    header = {"key": "endpoint-load-metrics-format", "value": "TEXT"}
    assert asked(Orca()) == [{"append": {"header": header, "appendAction": "ADD_IF_ABSENT"}}]
    (other,) = asked(replace(Orca(), ask="JSON"))
    assert other == {"append": {"header": {**header, "value": "JSON"}, "appendAction": "ADD_IF_ABSENT"}}
    assert asked(replace(Orca(), ask="NONE")) == []


def test_clients_do_not_see_them() -> None:
    """Unless the policy wants it."""
    assert hidden(Orca()) == [{"remove": "endpoint-load-metrics"}, {"remove": "endpoint-load-metrics-bin"}]
    assert hidden(replace(Orca(), hide=False)) == []
