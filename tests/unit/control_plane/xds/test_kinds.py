"""Names and order of the types."""

from control_plane.compile import MESSAGE_OF_KIND
from control_plane.xds import kinds
from protos.messages import TYPE_URL_PREFIX


def test_short_names() -> None:
    """Operators see the four letters where there are some, else the message's name."""
    names = [kinds.short_name(type_url) for type_url in kinds.PUSH_ORDER]
    assert names == ["CDS", "EDS", "SDS", "LDS", "RDS", "RTDS"]
    assert kinds.short_name("type.googleapis.com/envoy.x.Thing") == "envoy.x.Thing"


def test_push_order() -> None:
    """What is referred to goes first; unknown types go last."""
    assert sorted([kinds.ROUTES, "other", kinds.CLUSTERS], key=kinds.push_rank) == [
        kinds.CLUSTERS,
        kinds.ROUTES,
        "other",
    ]


def test_the_compiler_s_words_cover_the_order() -> None:
    """Every type that the compiler makes has its place, in the compiler's own order."""
    assert tuple(TYPE_URL_PREFIX + name for name in MESSAGE_OF_KIND.values()) == kinds.PUSH_ORDER
