"""What is known of an open stream: what it was offered, what it has of it, what it refused."""

from control_plane.compile import Node
from control_plane.sidecar.builds import variant_of
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.snapshot import Snapshot, build_snapshot
from protos.messages import load

NODE = Node(id="a")


def snapshot(note: str = "", endpoints: bool = True) -> Snapshot:
    """One cluster by EDS, one listener with its routes, and routes that no listener asks for."""
    cluster = {
        "name": "pool/p",
        "type": "EDS",
        "altStatName": note,
        "edsClusterConfig": {"edsConfig": {"ads": {}, "resourceApiVersion": "V3"}},
    }
    return build_snapshot(
        {
            CLUSTERS: {"pool/p": cluster},
            ENDPOINTS: {"pool/p": {"clusterName": "pool/p"}} if endpoints else {},
            LISTENERS: {"l": {"name": "l", "statPrefix": note}},
            ROUTES: {"l": {"name": "l"}, "other": {"name": "other"}},
        },
        load(),
    )


def offered(found: Snapshot) -> tuple[Streams, LiveStream]:
    """A stream that was offered this."""
    streams = Streams()
    stream = streams.open(NODE)
    stream.offer("v1", variant_of(NODE), found)
    return streams, stream


def take(streams: Streams, stream: LiveStream, found: Snapshot, *types: str) -> None:
    """It accepts all of these types."""
    for type_url in types:
        names = [name for name in found.resources(type_url) if name != "other"]
        streams.accepted(stream, type_url, {name: found.resources(type_url)[name].version for name in names})


def test_who_has_all() -> None:
    """Only who has accepted clusters, listeners and the routes of these, and has some endpoints for each cluster."""
    found = snapshot()
    streams, stream = offered(found)
    for type_url in (CLUSTERS, LISTENERS, ROUTES):
        assert not stream.has_all()
        take(streams, stream, found, type_url)
    assert not stream.has_all(), "its cluster has no endpoints yet"
    streams.accepted(stream, ENDPOINTS, {"pool/p": "some version"})
    assert stream.has_all()
    stream.offer("v2", variant_of(NODE), snapshot("changed"))
    assert not stream.has_all()
    assert not LiveStream(NODE).has_all()


def test_a_refusal_is_forgotten_with_its_own_content_only() -> None:
    """Accepting the last good one in its place is no change of mind."""
    bad, good = snapshot("bad"), snapshot("good")
    streams, stream = offered(bad)
    version = bad.resources(CLUSTERS)["pool/p"].version
    streams.refused(stream, CLUSTERS, {"pool/p": version}, "no")
    take(streams, stream, good, CLUSTERS)
    assert stream.refused[CLUSTERS] == {"pool/p": (version, "no")}
    take(streams, stream, bad, CLUSTERS)
    assert stream.refused[CLUSTERS] == {}


def test_contents_that_an_answer_may_be_about() -> None:
    """The last two that it was offered; offering the same again pushes nothing out."""
    first, second, third = snapshot("1"), snapshot("2"), snapshot("3")
    _, stream = offered(first)
    for found in (second, second):
        stream.offer("v2", variant_of(NODE), found)
    for found in (first, second):
        resource = found.resources(CLUSTERS)["pool/p"]
        assert stream.resource(CLUSTERS, "pool/p", resource.version) is resource
    stream.offer("v3", variant_of(NODE), third)
    assert stream.resource(CLUSTERS, "pool/p", first.resources(CLUSTERS)["pool/p"].version) is None


def test_two_streams_of_one_id() -> None:
    """They are told apart by the node object, not by the name."""
    streams = Streams()
    one, other = Node(id="same"), Node(id="same")
    first = streams.open(one)
    assert streams.open(one) is first
    assert streams.open(other) is not first
    assert len(streams) == 2
    assert streams.close(one) is first
    assert streams.close(one) is None
    assert (streams.of(one), [stream.node for stream in streams]) == (None, [other])


def test_who_has_taken_a_resource() -> None:
    """All that were offered it have answered for this version of it; who has no such thing, or only starts, counts."""
    found, newer = snapshot(), snapshot("changed")
    streams, stream = offered(found)
    assert streams.have_taken(CLUSTERS, "pool/p"), "it holds nothing yet"
    take(streams, stream, found, CLUSTERS)
    assert streams.have_taken(CLUSTERS, "pool/p")
    assert streams.have_taken(CLUSTERS, "pool/unknown")
    stream.offer("v2", variant_of(NODE), newer)
    assert not streams.have_taken(CLUSTERS, "pool/p")
    version = newer.resources(CLUSTERS)["pool/p"].version
    streams.refused(stream, CLUSTERS, {"pool/p": version}, "no")
    assert streams.have_taken(CLUSTERS, "pool/p")
    take(streams, stream, newer, CLUSTERS)
    assert streams.have_taken(CLUSTERS, "pool/p")
