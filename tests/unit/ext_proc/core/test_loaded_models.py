"""Which models are loaded where, and of whom nothing is known."""

from ext_proc.core.loaded_models import MAX_NAMES, LoadedModels


def members(models: LoadedModels, name: str) -> list[int]:
    """The slots that have it."""
    return [slot for slot, has in enumerate(models.members(name, 8)) if has]


def test_a_list_replaces_the_one_before() -> None:
    """Names come and go with it; none at all is an answer, too."""
    models = LoadedModels()
    models.told(0, frozenset({"a", "b"}), 1.0)
    models.told(1, frozenset({"b"}), 1.0)
    assert (members(models, "a"), members(models, "b")) == ([0], [0, 1])
    models.told(0, frozenset(), 2.0)
    assert (members(models, "a"), members(models, "b")) == ([], [1])
    assert (models.names(0), models.names(2)) == (frozenset(), None)
    assert [bool(each) for each in models.known(3)] == [True, True, False]


def test_an_older_list_says_nothing() -> None:
    """Two sources may overtake each other."""
    models = LoadedModels()
    models.told(0, frozenset({"new"}), 2.0)
    models.told(0, frozenset({"old"}), 1.0)
    assert (models.names(0), models.at(0), models.at(1)) == (frozenset({"new"}), 2.0, None)


def test_reset_forgets() -> None:
    """The endpoint is unknown again, and an early list of its successor counts."""
    models = LoadedModels()
    models.told(0, frozenset({"a"}), 5.0)
    models.reset(0)
    models.reset(1)
    assert (models.names(0), members(models, "a")) == (None, [])
    assert not models.known(1).any()
    models.told(0, frozenset({"b"}), 1.0)
    assert models.names(0) == frozenset({"b"})


def test_names_are_bounded() -> None:
    """A list without end keeps its beginning."""
    models = LoadedModels()
    models.told(0, frozenset(f"{number:06}" for number in range(MAX_NAMES + 5)), 1.0)
    names = models.names(0)
    assert names is not None
    assert (len(names), f"{MAX_NAMES:06}" in names) == (MAX_NAMES, False)
