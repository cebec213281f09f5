"""The parts of a drill's own ground that need no process, and what is seen of the picker."""

import msgspec
import pytest

from control_plane.drills.ground import fault_of
from control_plane.drills.model import Drill, Step
from control_plane.drills.reading import read_drill
from control_plane.drills.stage import with_addresses
from control_plane.drills.watch import failed
from sim.faults import Fault, parse


def test_addresses_are_replaced_all_at_once() -> None:
    """Only where one stands as a whole, and none that was put in just now."""
    text = 'a: 127.0.0.1:80, "127.0.0.1:8001", [127.0.0.1:8001], 1127.0.0.1:8001, 127.0.0.1:80011 # 127.0.0.1:8001.'
    found = with_addresses(text, {"127.0.0.1:80": "127.0.0.1:8001", "127.0.0.1:8001": "127.0.0.1:80"})
    assert found == (
        'a: 127.0.0.1:8001, "127.0.0.1:80", [127.0.0.1:80], 1127.0.0.1:8001, 127.0.0.1:80011 # 127.0.0.1:8001.'
    )
    assert with_addresses("[::1]:80 127.0.0.1:80", {"[::1]:80": "x"}) == "x 127.0.0.1:80"
    assert with_addresses(text, {}) == text


def steps(body: str) -> Step:
    """One step of a pool with this in it."""
    file, diagnostics = read_drill(f"policy: p\nduration: 9s\nsteps: [{{name: s, at: 1s, pool: p, {body}}}]\n", "d")
    assert file is not None, diagnostics
    found: Drill = file.drill
    return found.steps[0]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("fault: slow, factor: 2.5", Fault("slow", factor=2.5)),
        ("fault: status, code: 503, everything: true", Fault("status", code=503, scope="all")),
        ("fault: cut, afterChunks: 7", Fault("cut", after_chunks=7)),
        ("fault: hang", Fault("hang")),
        ("fault: failScrape", Fault("fail_scrape")),
        ("fault: lie", Fault("lie")),
        ("fault: stale", Fault("stale")),
        ("fault: gpu, xid: 48", Fault("gpu", xid=48)),
        ("fault: refuse", Fault("refuse")),
        ("fault: die", Fault("die")),
    ],
)
def test_pods_understand_what_they_are_told(body: str, fault: Fault) -> None:
    """Every fault of a step is one of theirs."""
    assert parse(msgspec.json.encode(fault_of(steps(body)))) == fault


@pytest.mark.parametrize(
    ("outcome", "is_cut", "expected"),
    [
        ({"served": None, "status": None, "attempts": 0}, False, []),
        ({"served": "b", "status": None, "attempts": 2}, False, ["a"]),
        ({"served": "b", "status": 200, "attempts": 2}, False, ["a"]),
        ({"served": "a", "status": 200, "attempts": 1}, False, []),
        ({"served": "a", "status": 200, "attempts": 1}, True, ["a"]),
        ({"served": "a", "status": None, "attempts": 1}, True, []),
        ({"served": "a", "status": 500, "attempts": 1}, False, ["a"]),
        ({"served": "a", "status": 503, "attempts": 1}, False, []),
        ({"served": "x", "status": 200, "attempts": 3}, False, ["a", "b"]),
        ({"served": None, "status": 503, "attempts": 3}, False, ["a", "b"]),
    ],
)
def test_who_failed(outcome: dict[str, object], is_cut: bool, expected: list[str]) -> None:
    """Those before the one that served; that one, too, where its answer broke off and the picker knows of its end."""
    assert failed({"endpoints": ["a", "b", "c"], "outcome": outcome}, is_cut) == expected
