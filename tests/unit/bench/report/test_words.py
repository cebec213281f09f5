"""What is replayed, as words."""

from bench.report.words import Group, Knee, Place, Workload

CHAT = Place(Workload("chat", "generate:chat", 500), "h100-8b")


def test_the_command_plays_what_the_group_asks_for() -> None:
    """Trace, fleet, loads, seeds and rules are all in it."""
    group = Group(CHAT.words, ("kv-aware", "lmetric"), ("0.5", "0.7"), seeds=3)

    assert group.command == (
        "kvpilot replay generate:chat --requests 500 --profile h100-8b --load 0.5 0.7 --seeds 3 "
        "--strategies kv-aware,lmetric"
    )


def test_a_command_for_all_rules_names_none() -> None:
    """Without names all are played."""
    assert "--strategies" not in Group(CHAT.words, ("kv-aware",), ("0.5",), is_all=True).command


def test_a_search_for_sizes_says_so() -> None:
    """One seed needs no word."""
    command = Group(CHAT.words, ("kv-aware",), ("0.5",), seeds=1, search="size").command

    assert "--load 0.5 --size --strategies kv-aware" in command


def test_a_cell_for_every_rule_load_and_seed() -> None:
    """Each has a key of its own."""
    cells = list(Group(CHAT.words, ("a", "b"), ("0.5", "0.7"), seeds=3).cells())

    assert len({cell.key for cell in cells}) == len(cells) == 12


def test_the_same_run_has_the_same_key_in_two_commands() -> None:
    """More loads, seeds or rules in a command do not change its runs."""
    one = Group(CHAT.words, ("a",), ("0.5",), seeds=1)
    many = Group(CHAT.words, ("a", "b"), ("0.5", "0.7"), seeds=3)

    assert next(iter(one.cells())).key in {cell.key for cell in many.cells()}


def test_rates_and_loads_are_told_apart() -> None:
    """A rate of 0.5 is no load of 0.5."""
    load = Group(CHAT.words, ("a",), ("0.5",))
    rate = Group(CHAT.words, ("a",), ("0.5",), "--rate")

    assert next(iter(load.cells())).key != next(iter(rate.cells())).key
    assert "--rate 0.5" in rate.command


def test_shares_of_a_knee() -> None:
    """Words and times are shares of what was found."""
    knee = Knee(load=0.8, rate=20.0, requests_per_s=50.0, strategy="lmetric")

    assert knee.load_word(0.5) == "0.4"
    assert knee.rate_word(0.5) == "10"
    assert knee.span_s(CHAT, 0.5) == 20.0
