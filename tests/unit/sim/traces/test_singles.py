"""Single requests: shared system prompts, waves, documents, embeddings."""

import random
from itertools import islice, pairwise

import pytest

from sim.traces.load import Load, Turn
from sim.traces.singles import Bursts, Embeddings, Prompts, Rag
from sim.traces.texts import Texts


def singles(load: Load, count: int, seed: int = 1) -> list[Turn]:
    """The requests of so many sessions."""
    return [turn for session in islice(load.sessions(random.Random(seed), Texts(64)), count) for turn in session]


def test_an_application_has_one_system_prompt() -> None:
    """Requests of a tenant share its system prompt and no more; those of two tenants share nothing."""
    turns = singles(Prompts(applications=3, system_sigma=0.0, system_tokens=640), 200)
    assert {turn.tenant for turn in turns} == {"application-0", "application-1", "application-2"}
    prefixes = {turn.tenant: turn.prompt.blocks[:10] for turn in turns}
    assert len({block for prefix in prefixes.values() for block in prefix}) == 30
    rest = [block for turn in turns for block in turn.prompt.blocks[10:]]
    assert all(turn.prompt.blocks[:10] == prefixes[turn.tenant] for turn in turns)
    assert len(set(rest)) == len(rest)


def test_bursts_come_in_waves() -> None:
    """The mean rate is as asked; the fullest seconds hold far more than a steady rate would."""
    load = Bursts(on_s=2.0, off_s=8.0, idle_share=0.2)
    starts = list(islice(load.starts(random.Random(5), 10.0), 60_000))
    assert starts == sorted(starts)
    assert len(starts) / starts[-1] == pytest.approx(10.0, rel=0.1)
    seconds = [0] * (int(starts[-1]) + 1)
    for at in starts:
        seconds[int(at)] += 1
    mean = sum(seconds) / len(seconds)
    variance = sum((count - mean) ** 2 for count in seconds) / len(seconds)
    assert variance / mean > 5, "a steady load has a variance equal to its mean"


def test_without_idle_requests_all_come_in_waves() -> None:
    """A share of 0 leaves silence between waves."""
    starts = list(islice(Bursts(on_s=1.0, off_s=30.0, idle_share=0.0).starts(random.Random(6), 10.0), 20_000))
    assert max(later - earlier for earlier, later in pairwise(starts)) > 10


def test_documents_are_found_again() -> None:
    """Behind the instructions two requests share exactly the documents that both begin with."""
    load = Rag(documents=4, retrieved=2, system_tokens=64, document_tokens=640, document_sigma=0.0)
    turns = singles(load, 300)
    firsts = {turn.prompt.blocks[1:11] for turn in turns}
    pairs = {turn.prompt.blocks[1:21] for turn in turns}
    assert len({turn.prompt.blocks[0] for turn in turns}) == 1
    assert (len(firsts), len(pairs)) == (4, 12), "4 documents in the first place, 4 × 3 orders of two"


def test_sorted_documents_meet_more_often() -> None:
    """A fixed order makes 6 pairs of the 12 orders."""
    load = Rag(documents=4, retrieved=2, system_tokens=64, document_tokens=640, document_sigma=0.0, is_sorted=True)
    assert len({turn.prompt.blocks[1:21] for turn in singles(load, 300)}) == 6


def test_no_more_documents_than_there_are() -> None:
    """Asking for more than the library has gives all of it."""
    load = Rag(documents=2, retrieved=5, system_tokens=0, document_tokens=64, document_sigma=0.0, zipf=0.0)
    assert {len(turn.prompt.blocks[:2]) for turn in singles(load, 50)} == {2}


def test_embeddings_share_nothing_and_come_together() -> None:
    """One output token, not streamed, no block twice, several of one document at the same instant."""
    sessions = list(islice(Embeddings(batch=4).sessions(random.Random(7), Texts(64)), 2_000))
    turns = [turn for session in sessions for turn in session]
    blocks = [block for turn in turns for block in turn.prompt.blocks]
    assert len(set(blocks)) == len(blocks)
    assert {(turn.output_tokens, turn.stream, turn.answer_blocks, turn.offset_s) for turn in turns} == {
        (1, False, (), 0.0)
    }
    assert len(turns) / len(sessions) == pytest.approx(4, rel=0.1)
