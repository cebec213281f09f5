"""Generated traces: the same on any machine, at the asked rate, and named as on a command line."""

import hashlib
from dataclasses import fields
from pathlib import Path

import pytest

from sim.traces.agents import Agents
from sim.traces.chats import Chat
from sim.traces.generate import KINDS, LOADS, generate, load_of
from sim.traces.load import Load
from sim.traces.singles import Rag
from sim.traces.trace import Trace

DIGESTS = {
    "chat": "6469c37ae745f633",
    "prompts": "43d93c3565bd70ef",
    "agents": "9717fc3821c39f64",
    "rag": "cf438e608ae83ba7",
    "embeddings": "59b5499f1d29358a",
    "bursts": "4e1c881250b87efe",
    "diurnal": "ec56225128778fe6",
}
"""Of the first 1,000 requests with seed 1. A changed one changes every published table: say so in the change log."""


def digest(trace: Trace) -> str:
    """A hash of everything that a replay depends on."""
    state = hashlib.sha256()
    for found in trace.requests:
        line = (
            f"{found.at_s:.6f} {found.prompt_tokens} {found.output_tokens} {found.session} {found.tenant} "
            f"{found.stream} {found.blocks} {found.answer_blocks}\n"
        )
        state.update(line.encode())
    return state.hexdigest()[:16]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_trace(kind: str) -> None:
    """The bytes are those of the day the generator was written; another seed gives others."""
    assert digest(generate(kind, seed=1)) == DIGESTS[kind]
    assert digest(generate(kind, seed=2)) != DIGESTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_number_and_rate_are_exact(kind: str) -> None:
    """As many requests as asked, at exactly the asked rate, with the blocks of the asked size."""
    trace = generate(kind, seed=5, requests=300, rate=7.0, block_tokens=16)
    assert (len(trace), trace.block_tokens, trace.name) == (300, 16, f"{kind}-5")
    assert trace.rate == pytest.approx(7.0, rel=1e-6)
    assert all(len(found.blocks) == found.prompt_tokens // 16 for found in trace.requests)


@pytest.mark.parametrize("kind", KINDS)
def test_every_id_has_one_predecessor(kind: str) -> None:
    """Blocks are chains: what an id stands for includes all before it."""
    before: dict[int, int] = {}
    for found in generate(kind, seed=6, requests=400).requests:
        last = -1
        for block in found.blocks + found.answer_blocks:
            assert before.setdefault(block, last) == last
            last = block


def test_a_chat_is_settled_from_the_start() -> None:
    """The rate of the first quarter is about that of the last one: sessions are under way when the trace begins."""
    trace = generate("chat", seed=7, requests=4_000)
    quarter = trace.duration_s / 4
    first = sum(found.at_s < quarter for found in trace.requests)
    last = sum(found.at_s > 3 * quarter for found in trace.requests)
    assert first == pytest.approx(last, rel=0.15)


def test_sharing_is_what_the_load_is_about() -> None:
    """Most of a chat and of agents is shared, some of documents, nothing of embeddings."""
    shared = {kind: generate(kind, seed=8).sharing_rate for kind in KINDS}
    assert shared["chat"] > 0.7
    assert shared["agents"] > 0.8
    assert 0.2 < shared["rag"] < 0.7
    assert shared["embeddings"] == 0


def test_a_load_with_parameters() -> None:
    """Parameters reach the load, as a value or as a text."""
    assert generate(Chat(turns=2), seed=1) == generate("chat:turns=2", seed=1)
    assert generate(Chat(turns=2), seed=1) != generate("chat", seed=1)


def test_loads_from_texts() -> None:
    """Numbers and truth values are read by the type of the parameter."""
    assert load_of("agents") == Agents()
    assert load_of("rag:documents=9,zipf=0.5,is_sorted=true") == Rag(documents=9, zipf=0.5, is_sorted=True)
    assert load_of("rag:is_sorted=false") == Rag()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("chats", "'chats' is no kind of load; there are chat, prompts, agents, rag, embeddings, bursts, diurnal"),
        ("chat:turn=5", "chat has no parameter 'turn'; it has turns, "),
        ("chat:turns", "turns must be a whole number, not ''"),
        ("chat:turns=2.5", "turns must be a whole number, not '2.5'"),
        ("chat:think_s=long", "think_s must be a number, not 'long'"),
        ("rag:is_sorted=yes", "is_sorted must be true or false, not 'yes'"),
        ("chat:turns=0", "turns must be between"),
    ],
)
def test_bad_texts_are_explained(text: str, words: str) -> None:
    """The error names what was found and what there is."""
    with pytest.raises(ValueError, match=words):
        load_of(text)


@pytest.mark.parametrize(("requests", "rate", "block_tokens"), [(0, 1.0, 1), (10**9, 1.0, 1), (1, 0.0, 1), (1, 1.0, 0)])
def test_impossible_sizes_are_refused(requests: int, rate: float, block_tokens: int) -> None:
    """No requests, too many, no rate, no blocks."""
    with pytest.raises(ValueError, match=r"requests must|above 0"):
        generate("chat", 1, requests=requests, rate=rate, block_tokens=block_tokens)


def test_one_request_is_a_trace() -> None:
    """A single request arrives at 0 s."""
    assert generate("chat", 1, requests=1).duration_s == 0.0


@pytest.mark.parametrize("load", LOADS, ids=lambda load: str(load.kind))
def test_every_number_has_bounds(load: type[Load]) -> None:
    """No parameter can make a trace endless by accident."""
    for declared in fields(load):
        assert isinstance(declared.default, bool) or {"least", "most"} <= set(declared.metadata), declared.name


@pytest.mark.parametrize("load", LOADS, ids=lambda load: str(load.kind))
def test_the_page_names_every_parameter(load: type[Load]) -> None:
    """`docs/traces.md` has each kind with its parameters and defaults; what is derived says from what."""
    page = (Path(__file__).parents[4] / "docs" / "traces.md").read_text()
    line = page.split("| kind | parameters |")[1].split(f"| `{load.kind}` | ")[1].splitlines()[0]
    inherited = {declared.name for base in load.__bases__ if base is not Load for declared in fields(base)}
    for declared in fields(load):
        default = str(declared.default).lower()
        assert declared.name in inherited or f"`{declared.name}={default}`" in line
