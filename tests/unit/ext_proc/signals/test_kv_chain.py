"""Engine blocks, runs on them, and events in the making. What they are for is in `test_kv_blocks.py`."""

from ext_proc.core.events import BlocksRemoved, BlocksStored
from ext_proc.signals.kv_chain import CLEAN_FROM, DEAD, Block, Run, Told

POD = "10.0.0.1:8000"


def chain(*tails: bytes) -> Block:
    """The last of engine blocks that follow each other, with what each has behind the last block of ours."""
    block: Block | None = None
    for number, tail in enumerate(tails):
        before, block = block, Block(number, block, 1)
        block.tail = tail
        block.filled = len(tail) + (before.filled if before is not None else 0)
    assert block is not None
    return block


def test_what_has_begun_in_earlier_blocks() -> None:
    """All engine blocks under it, first to last, and all of its tokens."""
    members, tokens = chain(b"aaaa", b"bbbb", b"cc").begun()
    assert [member.key for member in members] == [0, 1, 2]
    assert tokens == b"aaaabbbbcc"


def test_what_has_begun_here() -> None:
    """Blocks before the last end of one of ours are none of its members."""
    last = chain(b"aaaa", b"bbbb")
    last.filled = len(last.tail)
    assert last.begun() == ((last,), b"bbbb")


def test_a_run_misses_who_is_gone() -> None:
    """Members in no place count as missing from the start."""
    there, gone = Block(1, None, 1), Block(2, None, 0)
    assert Run(9, None, (there, gone)).missing == 1


def test_dead_runs_are_forgotten() -> None:
    """Not at once, but before there are many of them; living ones stay."""
    block = Block(1, None, 1)
    kept = Run(0, None, (block,))
    block.lies_under(kept)
    for number in range(20 * CLEAN_FROM):
        run = Run(number, None, (block,))
        run.missing = DEAD
        block.lies_under(run)
    assert block.runs[0] is kept
    assert len(block.runs) < 2 * CLEAN_FROM


def told(*steps: tuple[str, int, int | None]) -> list[BlocksStored | BlocksRemoved]:
    """The events of some steps, each `held` or `gone`, a name, and the name before it."""
    made = Told(POD, 5.0)
    for step, name, parent in steps:
        run = Run(name, parent, ())
        if step == "held":
            made.held(run)
        else:
            made.gone(run)
    made.flush()
    made.flush()
    events = [event for event in made.events if isinstance(event, BlocksStored | BlocksRemoved)]
    assert len(events) == len(made.events)
    return events


def test_what_follows_each_other_is_one_event() -> None:
    """What does not is another; an order of coming and going is kept; nothing is told twice."""
    found = told(
        ("held", 1, None), ("held", 2, 1), ("held", 7, 5), ("gone", 1, None), ("gone", 9, 4), ("held", 1, None)
    )
    assert found == [
        BlocksStored(address=POD, at=5.0, blocks=(1, 2), parent=None),
        BlocksStored(address=POD, at=5.0, blocks=(7,), parent=5),
        BlocksRemoved(address=POD, at=5.0, blocks=(1, 9)),
        BlocksStored(address=POD, at=5.0, blocks=(1,), parent=None),
    ]
    assert told() == []
