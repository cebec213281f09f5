"""LMETRIC."""

from tests.unit.sim.baselines.play import A, B, C, Play


def test_the_product() -> None:
    """(queued + uncached tokens) × requests."""
    play = Play("lmetric")
    play.hold(A, 1, 2, 3)
    play.put(A, uncached=600)
    play.put(A, uncached=100, begun=True)
    play.put(B, uncached=500, begun=True)
    play.put(C, uncached=2_000)
    assert play.keys(1, 2, 3, 4) == {A: (700 * 2, 700), B: (400, 400), C: (2_400, 2_400)}
    assert play.best(1, 2, 3, 4) == {B}


def test_idle_endpoints_are_told_apart_by_tokens() -> None:
    """All products are 0 then."""
    play = Play("lmetric")
    play.hold(C, 1)
    assert play.best(1, 2) == {C}
