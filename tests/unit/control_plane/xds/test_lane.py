"""What a lane makes of answers."""

import pytest

from control_plane.xds.kinds import ENDPOINTS
from control_plane.xds.lane import MAX_ERROR_CHARS, InFlight, Lane, View, due_resources, named_in, pushed_version
from control_plane.xds.snapshot import Resource, content_version


def view_of(**versions: str) -> View:
    """A view of these resources, all wanted."""
    resources = {name: Resource(name, version, b"") for name, version in versions.items()}
    return View(
        everything=resources,
        wanted=resources,
        counted=resources,
        version=content_version(resources),
        kept=frozenset(),
        served=True,
        removals=True,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Error adding/updating cluster(s) pool/a: bad", ("pool/a",)),
        ("Error adding/updating cluster(s) pool/a: bad, pool/a-next: worse", ("pool/a", "pool/a-next")),
        ("Error adding/updating cluster(s) pool/a-next: bad", ("pool/a-next",)),
        ("bad is 'pool/a'.", ("pool/a",)),
        ("xpool/a and pool/a.b", ()),
        ("nothing of ours", ()),
    ],
)
def test_named_in(text: str, expected: tuple[str, ...]) -> None:
    """Whole names only: a name that is part of another is not meant."""
    assert named_in(text, ["pool/a", "pool/a-next"]) == expected


def test_an_error_text_is_bounded() -> None:
    """A client cannot make us keep what it likes."""
    lane = Lane(ENDPOINTS, in_flight=InFlight("1", "v", {"a": "1"}, complete=False))
    lane.settle("x" * 100_000)
    assert lane.rejection is not None
    assert len(lane.rejection.text) == MAX_ERROR_CHARS


def test_due_resources_differ_or_are_owed_or_forced() -> None:
    """What is held and nobody asked for stays at home; afterwards nothing is owed."""
    lane = Lane(ENDPOINTS, held={"a": "1", "b": "1", "c": "1", "d": "1"}, owed={"b"}, forced={"c"})
    assert [resource.name for resource in due_resources(lane, view_of(a="2", b="1", c="1", d="1"))] == ["a", "b", "c"]
    assert due_resources(lane, view_of(a="1", b="1", c="1", d="1")) == ()


def test_forced_resources_need_no_subscription() -> None:
    """Endpoints of a new cluster go out before anybody asks for them; names that do not exist do not."""
    lane = Lane(ENDPOINTS, held={"a": "1"}, forced={"b", "none"})
    everything = view_of(a="1", b="1")
    view = View(
        everything=everything.everything,
        wanted=view_of(a="1").wanted,
        counted=view_of(a="1").wanted,
        version="v",
        kept=frozenset(),
        served=True,
        removals=True,
    )
    assert [resource.name for resource in due_resources(lane, view)] == ["b"]


class TestPushedVersion:
    """The version that a response carries."""

    def test_it_is_that_of_all_that_is_wanted(self) -> None:
        """Also if only a part is sent: it is what the client then holds."""
        view = view_of(a="1", b="1")
        assert pushed_version(Lane(ENDPOINTS), view, [view.wanted["a"]]) == view.version

    def test_a_parked_resource_makes_it_another(self) -> None:
        """Accepting this response does not accept what was rejected before."""
        view = view_of(a="1", b="9")
        lane = Lane(ENDPOINTS, parked={"b": "9"})
        assert pushed_version(lane, view, [view.wanted["a"]]) != view.version

    def test_a_parked_resource_that_is_sent_counts_again(self) -> None:
        """It is up to the client once more."""
        view = view_of(a="1", b="9")
        lane = Lane(ENDPOINTS, parked={"b": "9"})
        assert pushed_version(lane, view, view.wanted.values()) == view.version
