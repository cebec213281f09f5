"""What routers of other systems remember."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    FirstToken,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    StreamEnded,
)
from sim.baselines.state import InFlight, Load, Prefixes, Reachable, Scrapes
from sim.virtual.router import RoutedRequest
from tests.unit.sim.baselines.play import ADDRESSES, SIZE, A, B, C


def request(name: str, *blocks: int, tokens: int = 0) -> RoutedRequest:
    """A prompt of these blocks."""
    return RoutedRequest(name, blocks, SIZE, tokens or max(1, len(blocks) * SIZE))


def test_in_flight_follows_a_request() -> None:
    """Queued tokens go with the first token, the rest with the end; what comes twice changes nothing."""
    account = InFlight(ADDRESSES)
    account.start(request("r1", 1, 2, tokens=230), A, 130, now=0.0, prefill_s=0.5)
    load = account.at(A)
    assert (load.requests, load.queued_tokens, load.queued_s, load.partial_tokens) == (1, 130, 0.5, 30)
    for _ in range(2):
        account.observe(FirstToken(decision_id="r1", address=A, at=1.0, ttft_ms=1000.0))
        assert (load.requests, load.queued_tokens, load.queued_s, sorted(load.blocks)) == (1, 0, 0.0, [1, 2])
    for _ in range(2):
        account.observe(RequestEnded(decision_id="r1", at=2.0, status=200))
        assert load == Load()
    assert len(account) == 0


def test_a_retry_moves_the_request() -> None:
    """It counts where it really runs, with its whole prompt; a late record of an earlier try changes nothing."""
    account = InFlight(ADDRESSES)
    account.start(request("r1", 1, 2), A, 50, now=1.0)
    account.observe(AttemptStarted(decision_id="r1", address=B, at=2.0))
    account.observe(AttemptStarted(decision_id="r1", address=A, at=1.5))
    account.observe(AttemptStarted(decision_id="r1", address="10.9.9.9:1", at=3.0))
    assert account.at(A) == Load()
    assert (account.at(B).requests, account.at(B).queued_tokens) == (1, 200)
    account.observe(StreamEnded(decision_id="r1", at=4.0, closed_by_us=True))
    assert account.at(B).requests == 1, "the picker's own shutdown is not the request's end"
    account.observe(StreamEnded(decision_id="r1", at=4.0))
    assert account.at(B) == Load()


def test_new_blocks_are_those_that_nobody_in_flight_holds() -> None:
    """Shared blocks count once, until the last request that holds them ends."""
    account = InFlight(ADDRESSES)
    account.start(request("r1", 1, 2, 3), A, 300, now=0.0)
    account.start(request("r2", 1, 2, 4), A, 100, now=0.0)
    load = account.at(A)
    assert (len(load.blocks), load.new_blocks((1, 2, 3, 9)), load.new_blocks((8, 9)), load.new_blocks(())) == (
        4,
        1,
        2,
        0,
    )
    account.observe(RequestEnded(decision_id="r1", at=1.0, status=200))
    assert load.new_blocks((1, 2, 3)) == 1


CHAINS = st.lists(st.integers(0, 1), max_size=5).map(
    lambda turns: tuple(int("1" + "".join(map(str, turns[: n + 1])), 2) for n in range(len(turns)))
)
"""Prompts as paths in a binary tree: an id tells all its predecessors."""


@given(st.lists(st.tuples(st.sampled_from(ADDRESSES), CHAINS), max_size=20), CHAINS)
@settings(max_examples=150, deadline=None)
def test_match_is_what_a_plain_lru_holds(sent: list[tuple[str, tuple[int, ...]]], asked: tuple[int, ...]) -> None:
    """The index answers as one list per endpoint would: the length of the run from block 0."""
    index = Prefixes(ADDRESSES, 4)
    lists: dict[str, list[int]] = {address: [] for address in ADDRESSES}
    for now, (address, blocks) in enumerate(sent):
        index.insert(address, blocks, float(now))
        for block in reversed(blocks[:4]):
            lists[address] = [b for b in lists[address] if b != block] + [block]
        lists[address] = lists[address][-4:]
    expected: dict[str, int] = {}
    for address, held in lists.items():
        assert index.size(address) == len(held)
        count = 0
        for block in asked:
            if block not in held:
                break
            count += 1
        if count:
            expected[address] = count
    assert index.match(asked, 99.0) == expected


def test_blocks_age() -> None:
    """With a time to live, blocks go when nobody has sent them for that long."""
    index = Prefixes(ADDRESSES, 10, ttl_s=120.0)
    index.insert(A, (1, 2), 0.0)
    index.insert(A, (1,), 60.0)
    assert index.match((1, 2), 119.0) == {A: 2}
    assert index.match((1, 2), 120.0) == {A: 1}
    assert index.match((1, 2), 180.0) == {}
    assert index.size(A) == 0


def test_the_tail_of_a_prompt_goes_first() -> None:
    """What is left of a prompt is always its start; what is forgotten is gone from all answers."""
    index = Prefixes(ADDRESSES, 3)
    index.insert(A, (1, 2, 3), 0.0)
    index.insert(B, (1,), 0.0)
    index.insert(A, (9,), 1.0)
    assert index.match((1, 2, 3), 2.0) == {A: 2, B: 1}
    index.forget(A)
    assert index.match((1, 2, 3), 2.0) == {B: 1}
    assert index.size(A) == 0


def test_the_last_scrape_stays() -> None:
    """A scrape replaces an older one, never a newer one."""
    scrapes = Scrapes()
    assert scrapes.last(A) is None
    for at in (2.0, 1.0):
        scrapes.observe(Scraped(address=A, at=at, running=0, waiting=int(at)))
    last = scrapes.last(A)
    assert last is not None
    assert last.waiting == 2


def test_who_is_reachable() -> None:
    """A failed connection or scrape takes an endpoint out until a later scrape succeeds; other failures do not."""
    reachable = Reachable(ADDRESSES)
    assert reachable.observe(AttemptEnded(decision_id="r", address=B, at=1.0, status=500)) is None
    assert reachable.observe(AttemptEnded(decision_id="r", address=A, at=1.0, status=0, flags=("UF",))) == A
    assert reachable.observe(ScrapeFailed(address=A, at=2.0, reason="refused")) is None, "it is out already"
    assert reachable.usable(3.0) == [B, C]
    reachable.observe(Scraped(address=A, at=1.5, running=0, waiting=0))
    assert reachable.usable(3.0) == [B, C]
    reachable.observe(Scraped(address=A, at=2.5, running=0, waiting=0))
    assert reachable.usable(3.0) == [A, B, C]
    for address in ADDRESSES:
        reachable.observe(ScrapeFailed(address=address, at=3.0, reason="timeout"))
    assert reachable.usable(3.0) == [A, B, C], "when none is there, all are tried"
    assert reachable.observe(ScrapeFailed(address="10.9.9.9:1", at=3.0, reason="timeout")) is None


def test_without_scrapes_an_endpoint_is_tried_again() -> None:
    """After ten seconds, and after ten more when it fails again."""
    reachable = Reachable(ADDRESSES)
    for at in (1.0, 11.0):
        reachable.observe(AttemptEnded(decision_id="r", address=A, at=at, status=0, flags=("UF",)))
        assert reachable.usable(at + 9.9) == [B, C]
        assert reachable.usable(at + 10.0) == [A, B, C]
