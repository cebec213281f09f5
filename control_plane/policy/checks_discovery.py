"""Rules about the items of a pool's `endpoints`, whichever kind they are."""

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.discovery import EndpointItem, FileEndpoints, StaticEndpoint
from control_plane.policy.model import Pool
from control_plane.policy.reader import Items, Reader, nearest_mark

MAX_SOURCES = 100
"""Sources of one pool: each is asked for ever by a task of its own. Names and files are lists; a pool needs a few."""


def few_sources(items: Items, reader: Reader) -> None:
    """No pool asks more sources than `MAX_SOURCES`."""
    count = sum(not isinstance(item, StaticEndpoint) for _, item in items.items)
    if count > MAX_SOURCES:
        message = f"{count:,} items of this list are `dns`, `dnsSrv` or `file`; at most {MAX_SOURCES} may be"
        reader.report_at(items.path, Code.ITEM_COUNT, message, "one name or one file can give many endpoints")


def endpoints_once(items: Items, reader: Reader) -> None:
    """No two items of a pool name the same address, name or file."""
    first: dict[tuple[str, str], str] = {}
    for path, item in items.items:
        assert isinstance(item, EndpointItem), "the rule is registered for these blocks"
        place = f"{path}.{item.KIND}"
        earlier = first.setdefault((item.KIND, item.target), place)
        if earlier != place:
            mark = nearest_mark(reader.marks, earlier)
            hint = f"the first is in {reader.line_of(mark)}" if mark else ""
            noun = "the endpoint" if isinstance(item, StaticEndpoint) else f"the `{item.KIND}`"
            message = f"{noun} {quoted(item.target)} is in this list already"
            reader.report_at(place, Code.DUPLICATE_ENDPOINT, message, hint)


def are_places_known(pool: Pool) -> bool:
    """Whether the policy says where all endpoints are: files have regions and zones of their own."""
    return not any(isinstance(item, FileEndpoints) for item in pool.endpoints)
