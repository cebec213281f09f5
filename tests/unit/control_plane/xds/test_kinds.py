"""Names and order of the types."""

from control_plane.xds import kinds


def test_short_names() -> None:
    """Operators see the four letters where there are some, else the message's name."""
    names = [kinds.short_name(type_url) for type_url in kinds.PUSH_ORDER]
    assert names == ["CDS", "EDS", "LDS", "RDS"]
    assert kinds.short_name("type.googleapis.com/envoy.x.Thing") == "envoy.x.Thing"


def test_push_order() -> None:
    """What is referred to goes first; unknown types go last."""
    assert sorted([kinds.ROUTES, "other", kinds.CLUSTERS], key=kinds.push_rank) == [
        kinds.CLUSTERS,
        kinds.ROUTES,
        "other",
    ]


def test_the_compiler_s_words_cover_the_order() -> None:
    """Every type that the compiler makes has its place."""
    assert tuple(kinds.TYPE_URLS.values()) == kinds.PUSH_ORDER
