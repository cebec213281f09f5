"""LoRA adapters: who has which, and what is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.adapters import Adapters

_NAMES = st.frozensets(st.sampled_from("abc"))


def members(adapters: Adapters, name: str) -> set[int]:
    """The slots of an adapter."""
    return {slot for slot, has in enumerate(adapters.members(name, 8)) if has}


@given(st.lists(st.tuples(st.integers(0, 7), _NAMES)))
def test_the_newest_scrape_of_each_endpoint_counts(scrapes: list[tuple[int, frozenset[str]]]) -> None:
    """And a name that nobody has takes no memory."""
    adapters = Adapters()
    newest: dict[int, frozenset[str]] = {}
    for slot, names in scrapes:
        adapters.scraped(slot, names)
        newest[slot] = names
    for name in "abc":
        assert members(adapters, name) == {slot for slot, names in newest.items() if name in names}
    assert set(adapters._slots) == set().union(*newest.values())


def test_an_endpoint_that_leaves_is_forgotten() -> None:
    """Also one that never said anything."""
    adapters = Adapters()
    adapters.scraped(1, frozenset("ab"))
    adapters.scraped(2, frozenset("b"))
    adapters.reset(1)
    adapters.reset(5)
    assert (members(adapters, "a"), members(adapters, "b")) == (set(), {2})
