"""The wildcard rules, as the protocol page has them."""

from control_plane.xds.subscription import Subscription

NEW = Subscription()


class TestSotw:
    """Each request lists everything that is wanted."""

    def test_the_page_s_own_example(self) -> None:
        """Nothing means all; then `*` with A; then A only; then nothing means nothing."""
        first = NEW.replaced([], legacy_wildcard=True)
        assert first.wildcard
        second = first.replaced(["*", "A"], legacy_wildcard=True)
        assert second == Subscription(frozenset({"A"}), True, explicit=True)
        third = second.replaced(["A"], legacy_wildcard=True)
        assert third == Subscription(frozenset({"A"}), False, explicit=True)
        fourth = third.replaced([], legacy_wildcard=True)
        assert fourth == Subscription(frozenset(), False, explicit=True)

    def test_nothing_stays_everything_until_something_is_named(self) -> None:
        """Envoy sends no names with every ACK of clusters."""
        again = NEW.replaced([], legacy_wildcard=True).replaced([], legacy_wildcard=True)
        assert again.wildcard

    def test_a_name_ends_the_historical_wildcard(self) -> None:
        """From the first name on only names count."""
        named = NEW.replaced([], legacy_wildcard=True).replaced(["A"], legacy_wildcard=True)
        assert named == Subscription(frozenset({"A"}), False, explicit=True)

    def test_no_names_are_no_wildcard_for_other_types(self) -> None:
        """An empty list of endpoints wants no endpoints, not all of them."""
        assert not NEW.replaced([], legacy_wildcard=False).wildcard

    def test_a_star_is_a_wildcard_for_any_type(self) -> None:
        """Said explicitly it means what it says."""
        assert NEW.replaced(["*"], legacy_wildcard=False).wildcard


class TestDelta:
    """Each request lists changes."""

    def test_the_page_s_own_example(self) -> None:
        """Nothing means all; A is added to it; `*` is given up and A stays; A is given up and nothing is left."""
        first = NEW.updated([], [], legacy_wildcard=True)
        assert first.wildcard
        second = first.updated(["A"], [], legacy_wildcard=True)
        assert second == Subscription(frozenset({"A"}), True, explicit=True)
        third = second.updated([], ["*"], legacy_wildcard=True)
        assert third == Subscription(frozenset({"A"}), False, explicit=True)
        fourth = third.updated([], ["A"], legacy_wildcard=True)
        assert fourth == Subscription(frozenset(), False, explicit=True)

    def test_a_first_name_leaves_no_wildcard(self) -> None:
        """A client that begins with a name wants that name."""
        assert NEW.updated(["A"], [], legacy_wildcard=True) == Subscription(frozenset({"A"}), False, explicit=True)

    def test_a_historical_wildcard_can_be_given_up(self) -> None:
        """Also by a client that never named anything; it does not come back by itself."""
        gone = NEW.updated([], [], legacy_wildcard=True).updated([], ["*"], legacy_wildcard=True)
        assert not gone.updated([], [], legacy_wildcard=True).wildcard

    def test_a_star_is_a_wildcard_for_any_type(self) -> None:
        """Said explicitly it means what it says."""
        assert NEW.updated(["*"], [], legacy_wildcard=False).wildcard

    def test_no_names_are_no_wildcard_for_other_types(self) -> None:
        """A first request for endpoints without names wants none."""
        assert not NEW.updated([], [], legacy_wildcard=False).wildcard


def test_is_empty() -> None:
    """Neither a name nor the wildcard."""
    assert NEW.is_empty()
    assert not Subscription(wildcard=True).is_empty()
    assert not Subscription(frozenset({"a"})).is_empty()


def test_wants() -> None:
    """A wildcard wants every name, else only those given."""
    assert Subscription(wildcard=True).wants("x")
    assert Subscription(frozenset({"a"})).wants("a")
    assert not Subscription(frozenset({"a"})).wants("x")
