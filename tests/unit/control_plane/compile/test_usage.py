"""Token usage from answers."""

from dataclasses import replace
from typing import Any

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.usage import STREAM_USAGE_FILTER, USAGE_FILTER, usage_filters
from control_plane.policy.feedback import Feedback
from tests.unit.control_plane.compile.samples import EVERYTHING, compiled, manager, policy


def test_both_filters_read_the_same_places() -> None:
    """Plain answers and streams have their counts at the same paths."""
    plain: Any
    plain, streams = (found["typedConfig"] for found in usage_filters(EVERYTHING))
    parsed = streams["responseRules"]["contentParser"]["typedConfig"]["rules"]  # type: ignore[index]
    assert [each["rule"] for each in parsed] == plain["responseRules"]["rules"]


def test_streams_need_their_own_filter() -> None:
    """An older Envoy reads plain answers alone."""
    older = Capabilities(EVERYTHING.features - {Feature.STREAM_USAGE})
    assert [found["name"] for found in usage_filters(older)] == [USAGE_FILTER]


def test_the_switch_takes_both_out() -> None:
    """With `feedback.usage: false` no filter reads answers, and no route mentions one."""
    value = replace(policy(), feedback=Feedback(usage=False))
    names = {found["name"] for found in manager(value)["httpFilters"]}
    assert not names & {USAGE_FILTER, STREAM_USAGE_FILTER}
    assert USAGE_FILTER not in str(compiled(value).routes)
    assert USAGE_FILTER in str(compiled().routes)
