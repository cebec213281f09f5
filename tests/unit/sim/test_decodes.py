"""When a decoding request is looked at: at its block borders, at its end, and not in between."""

from sim.decodes import Decodes, Sequence
from sim.events import Request


def decoding(decodes: Decodes, order: int, *, prompt: int, left: int, steps: int = 0, hashes: int = 0) -> Sequence:
    """A request whose prompt of `prompt` tokens is computed, in blocks of 4, of which `hashes` are known by hash."""
    sequence = Sequence(Request(str(order), tuple(range(hashes)), prompt, left + 1))
    sequence.order = order
    sequence.computed = prompt
    sequence.hold.private = -(-prompt // 4)
    for key in range(min(hashes, prompt // 4)):
        sequence.hold.private -= 1
        sequence.hold.shared.append(key)
    decodes.join(sequence, steps, left)
    return sequence


def test_a_block_is_needed_when_the_last_one_is_full() -> None:
    """6 tokens in 2 blocks: the third token from now is the first that needs another block."""
    decodes = Decodes(4)
    sequence = decoding(decodes, 1, prompt=6, left=20)
    assert decodes.next_visit() == 2
    assert decodes.take_visit(1) is None
    assert decodes.take_visit(2) is sequence
    sequence.hold.private += 1
    decodes.plan(sequence)
    assert decodes.next_visit() == 6


def test_a_block_with_a_hash_is_looked_at_when_it_gets_full() -> None:
    """The second block has a hash: its last token is computed one step before the third block is needed."""
    decodes = Decodes(4)
    decoding(decodes, 1, prompt=6, left=20, hashes=2)
    assert decodes.next_visit() == 1


def test_nobody_is_visited_after_the_end() -> None:
    """With 2 tokens to come no further block is needed; what remains to be seen is the end."""
    decodes = Decodes(4)
    sequence = decoding(decodes, 1, prompt=6, left=2)
    assert decodes.next_visit() == decodes.next_end() == 2
    assert decodes.take_visit(2) is None
    assert decodes.take_ended(2) == [sequence]


def test_one_step_is_told_in_the_order_of_admission() -> None:
    """Whoever joined first, the older admission comes first, for visits and for ends."""
    decodes = Decodes(4)
    newer = decoding(decodes, 2, prompt=6, left=9)
    older = decoding(decodes, 1, prompt=10, left=9)
    assert [decodes.take_visit(2), decodes.take_visit(2), decodes.take_visit(2)] == [older, newer, None]
    assert decodes.take_ended(9) == [older, newer]


def test_who_has_left_is_never_told() -> None:
    """Neither under the old order nor, admitted again, before its new times."""
    decodes = Decodes(4)
    gone = decoding(decodes, 1, prompt=6, left=5)
    decodes.leave(gone)
    back = decoding(decodes, 2, prompt=6, left=9, steps=3)
    assert (decodes.count, decodes.next_end()) == (1, 12)
    assert decodes.take_visit(4) is None
    assert decodes.take_visit(5) is back
    assert decodes.take_ended(11) == []


def test_the_context_grows_by_one_for_each() -> None:
    """6 and 10 tokens, and the ones computed in the step itself: 18, then 20."""
    decodes = Decodes(4)
    decoding(decodes, 1, prompt=6, left=9)
    decoding(decodes, 2, prompt=10, left=9)
    assert (decodes.context(0), decodes.context(1)) == (18, 20)
