"""Additions wait for Envoy, removals do not, and nobody starves."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.sidecar.handover import SYNC_TIMEOUT_S, Handover, combined
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings


def settings(version: str = "v", **pools: str) -> PickerSettings:
    """Pools with endpoints of one letter each: `p="abc"`."""
    return PickerSettings(
        version=version,
        pools=tuple(
            PoolSettings(
                name=name,
                cluster=f"pool/{name}",
                endpoints=tuple(EndpointSettings(address=letter) for letter in letters),
            )
            for name, letters in pools.items()
        ),
    )


def named(found: PickerSettings) -> dict[str, str]:
    """Pool → letters of its endpoints."""
    return {pool.name: "".join(endpoint.address for endpoint in pool.endpoints) for pool in found.pools}


class Envoys:
    """Envoys that have taken everything up to a number. Mutable: it."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, pool: str, number: int) -> bool:
        return self.taken >= number


def test_removals_at_once_additions_later() -> None:
    """The removed endpoint leaves with `want`, the added one comes when every Envoy has it."""
    handover, envoys = Handover(settings(p="ab")), Envoys()
    assert named(handover.want(settings(p="bc"), 0.0)) == {"p": "b"}
    assert handover.waiting_pools == {"p"}
    assert named(handover.advance(envoys, 0.1)) == {"p": "b"}
    envoys.taken = 1
    assert named(handover.advance(envoys, 0.2)) == {"p": "bc"}
    assert not handover.is_waiting
    assert handover.current is handover.wanted


def test_the_bound() -> None:
    """An Envoy that never answers holds additions back no longer than the bound, counted from the first of them."""
    handover, envoys = Handover(settings(p="a")), Envoys()
    handover.want(settings(p="ab"), 0.0)
    handover.want(settings(p="abc"), SYNC_TIMEOUT_S - 0.1)
    assert named(handover.advance(envoys, SYNC_TIMEOUT_S - 0.01)) == {"p": "a"}
    assert named(handover.advance(envoys, SYNC_TIMEOUT_S)) == {"p": "ab"}
    assert named(handover.advance(envoys, 2 * SYNC_TIMEOUT_S)) == {"p": "abc"}


def test_two_edits_before_any_answer() -> None:
    """The answer to the first admits the first one's additions only."""
    handover, envoys = Handover(settings(p="a")), Envoys()
    handover.want(settings(p="ab"), 0.0)
    handover.want(settings(p="abc"), 0.0)
    envoys.taken = 1
    assert named(handover.advance(envoys, 0.1)) == {"p": "ab"}
    envoys.taken = 2
    assert named(handover.advance(envoys, 0.2)) == {"p": "abc"}


def test_what_is_taken_back_is_not_waited_for() -> None:
    """An addition that is removed before it was admitted leaves nothing behind."""
    handover = Handover(settings(p="a"))
    handover.want(settings(p="ab"), 0.0)
    wanted = settings("w", p="a")
    assert handover.want(wanted, 0.1) is wanted
    assert not handover.is_waiting


def test_additions_come_under_churn() -> None:
    """Endpoints come and go all the time, each answer comes one change late: every addition is admitted soon."""
    handover, envoys = Handover(settings(p="x")), Envoys()
    for step in range(1, 50):
        letter = chr(ord("a") + step % 26)
        handover.want(settings(p=f"x{letter}"), step * 0.02)
        envoys.taken = handover.number - 1
        handover.advance(envoys, step * 0.02)
    handover.want(settings(p="xyz"), 1.0)
    envoys.taken = handover.number
    assert set(named(handover.advance(envoys, 1.1))["p"]) == {"x", "y", "z"}


def test_a_new_pool_is_left_out_until_envoy_has_it() -> None:
    """Its requests go unpicked meanwhile."""
    handover, envoys = Handover(settings(p="a")), Envoys()
    assert named(handover.want(settings(p="a", q="b"), 0.0)) == {"p": "a"}
    assert handover.waiting_pools == {"q"}
    envoys.taken = 1
    assert named(handover.advance(envoys, 0.1)) == {"p": "a", "q": "b"}


def test_nobody_to_wait_for() -> None:
    """Without a control plane here, everything counts at once."""
    handover = Handover(settings(p="a"))
    wanted = settings(p="b")
    assert handover.at_once(wanted) is wanted
    assert handover.current is wanted
    assert not handover.is_waiting


LETTERS = st.text("abcdef", min_size=1, max_size=5).map(lambda text: "".join(sorted(set(text))))


@given(st.lists(st.tuples(LETTERS, st.integers(0, 2)), min_size=1, max_size=20))
def test_nothing_is_named_that_no_envoy_has(steps: list[tuple[str, int]]) -> None:
    """Whatever is wanted and whenever Envoys answer: what is named was in an assignment that they have taken, or in one
    that shared nothing with what was named before; and when all is taken, all that is wanted is named."""
    handover, envoys = Handover(settings(p="a")), Envoys()
    served, whole = {0: {"a"}}, set[str]()
    for letters, lag in steps:
        before = set(named(handover.current).get("p", ""))
        found = set(named(handover.want(settings(p=letters), 0.0)).get("p", ""))
        served[handover.number] = set(letters)
        envoys.taken = max(envoys.taken, handover.number - lag)
        found = set(named(handover.advance(envoys, 0.0)).get("p", ""))
        assert found <= set(letters)
        known = set().union(*(served[number] for number in range(envoys.taken + 1)))
        whole |= set(letters) if before.isdisjoint(letters) else set()
        assert found <= known | whole
    envoys.taken = handover.number
    assert set(named(handover.advance(envoys, 0.0))["p"]) == set(steps[-1][0])
    assert handover.current is handover.wanted


def test_combined() -> None:
    """While a policy is with some Envoys only: what both have is as the rest has it, what is new is there, too."""
    stable = settings("old", p="ab")
    found = combined(stable, settings("new", p="bc", q="d"))
    assert named(found) == {"p": "ab", "q": "d"}
    assert found.version == "old"


def test_withheld_at_once() -> None:
    """Of what is in force and of what is to be; who waits for an Envoy goes on waiting, others are not touched."""
    handover, envoys = Handover(settings(p="ab", q="a")), Envoys()
    handover.want(settings(p="abc", q="a"), 0.0)

    def free(found: PickerSettings) -> dict[str, str]:
        return {pool.name: "".join(each.address for each in pool.endpoints if each.available) for pool in found.pools}

    assert free(handover.withhold("p", ["a", "c"])) == {"p": "b", "q": "a"}
    assert free(handover.wanted) == {"p": "b", "q": "a"}
    assert handover.is_waiting
    envoys.taken = 1
    assert free(handover.advance(envoys, 0.1)) == {"p": "b", "q": "a"}


def test_who_is_watched_only_waits_to_come_back() -> None:
    """Envoy does not know it any more: it is there for the picker to watch, and named when Envoy has it again."""

    def pool(state: str) -> PickerSettings:
        watched = EndpointSettings(address="a", available=not state, state=state)
        endpoints = (watched, EndpointSettings(address="b"))
        return PickerSettings(version="v", pools=(PoolSettings(name="p", cluster="pool/p", endpoints=endpoints),))

    handover, envoys = Handover(pool("draining")), Envoys()
    assert named(handover.want(pool(""), 0.0)) == {"p": "ab"}, "Envoy still has it"
    assert named(handover.want(pool("removed"), 0.1)) == {"p": "ab"}
    assert not handover.is_waiting
    assert named(handover.want(pool(""), 0.2)) == {"p": "b"}
    assert handover.waiting_pools == {"p"}
    envoys.taken = handover.number
    assert named(handover.advance(envoys, 0.3)) == {"p": "ab"}
