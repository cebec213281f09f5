"""What a lane makes of answers."""

from dataclasses import replace

import pytest

from control_plane.xds.kinds import ENDPOINTS
from control_plane.xds.lane import (
    CUT_BY_ENVOY,
    MAX_ERROR_CHARS,
    MAX_RESPONSE_BYTES,
    InFlight,
    Lane,
    View,
    due_resources,
    named_in,
    pushed_version,
    shortened,
)
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
    assert len(lane.rejection.text) <= MAX_ERROR_CHARS


def test_a_long_error_keeps_both_its_ends() -> None:
    """The beginning names the resource, the end says why; what Envoy repeats of the resource in between may go."""
    text = shortened("cluster a: " + "x" * 100_000 + " is too long")
    assert text.startswith("cluster a: ")
    assert text.endswith(" is too long")
    assert shortened("cluster a: bad") == "cluster a: bad"


def test_due_resources_differ_or_are_owed_or_forced() -> None:
    """What is held and nobody asked for stays at home; afterwards nothing is owed."""
    lane = Lane(ENDPOINTS, held={"a": "1", "b": "1", "c": "1", "d": "1"}, owed={"b"}, forced={"c"})
    due, later = due_resources(lane, view_of(a="2", b="1", c="1", d="1"))
    assert ([resource.name for resource in due], later) == (["a", "b", "c"], frozenset())
    assert due_resources(lane, view_of(a="1", b="1", c="1", d="1")) == ((), frozenset())


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
    assert [resource.name for resource in due_resources(lane, view)[0]] == ["b"]


def test_what_does_not_fit_comes_later() -> None:
    """What is sent is no longer owed, what has to wait still is, and one that is too large by itself goes out."""
    huge = {name: Resource(name, "1", bytes(MAX_RESPONSE_BYTES * 2 // 3)) for name in "abc"}
    huge["b"] = Resource("b", "1", bytes(2 * MAX_RESPONSE_BYTES))
    view = replace(view_of(), everything=huge, wanted=huge, counted=huge)
    lane = Lane(ENDPOINTS, owed={"a", "c"}, forced={"b"}, dirty=False)
    due, later = due_resources(lane, view)
    assert ([resource.name for resource in due], later) == (["a"], frozenset({"b", "c"}))
    assert (lane.owed, lane.forced, lane.dirty) == ({"c"}, {"b"}, True)
    lane.held["a"] = "1"
    assert [resource.name for resource in due_resources(lane, view)[0]] == ["b"]
    lane.held["b"] = "1"
    assert [resource.name for resource in due_resources(lane, view)[0]] == ["c"]


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

    def test_a_resource_that_is_still_to_come_makes_it_another(self) -> None:
        """Who reconnects with it has not got everything."""
        view = view_of(a="1", b="1")
        first = pushed_version(Lane(ENDPOINTS), view, [view.wanted["a"]], {"b"})
        assert first != view.version
        assert first != pushed_version(Lane(ENDPOINTS), view, [view.wanted["b"]], {"a"})

    def test_a_parked_resource_that_is_sent_counts_again(self) -> None:
        """It is up to the client once more."""
        view = view_of(a="1", b="9")
        lane = Lane(ENDPOINTS, parked={"b": "9"})
        assert pushed_version(lane, view, view.wanted.values()) == view.version


def test_a_repeated_resource_is_cut_out_of_an_error() -> None:
    """What stays is the name and the reason; where Envoy cut the reason off, that is said; the rest is bounded."""
    dump = 'goo.gle/debugstr  \nstat_prefix: ""\nfilters {\n  name: "pool/b"\n}\n'
    assert shortened(f"listener(s) a: {dump}: StatPrefix is empty") == "listener(s) a: StatPrefix is empty"
    two = shortened(f"listener(s) a: {dump}: one\nb: {dump}: two")
    assert two == "listener(s) a: one\nb: two"
    assert shortened(f"listener(s) a: {dump} ...(truncated)") == f"listener(s) a: {CUT_BY_ENVOY}"
    long = shortened("begin" + "x" * 10_000 + "end")
    assert len(long) < MAX_ERROR_CHARS
    assert (long[:5], long[-3:]) == ("begin", "end")
