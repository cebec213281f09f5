"""The end with an Envoy of one's own: when it is over."""

import pytest

from control_plane.sidecar import parting
from control_plane.sidecar.parting import part


class Ending:
    """An Envoy whose requests end as the test says. Mutable: the looks so far, and the time, which a look moves."""

    def __init__(self, *active: int | None) -> None:
        self._active = list(active)
        self.is_told = False
        self.now = 0.0

    async def begin_drain(self) -> None:
        """Notes it."""
        self.is_told = True

    async def active_requests(self) -> int | None:
        """One look, a second long; the last number stays."""
        assert self.is_told
        self.now += 1.0
        return self._active.pop(0) if len(self._active) > 1 else self._active[0]

    def clock(self) -> float:
        """The time."""
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(parting, "LOOK_S", 0)


async def test_until_it_has_been_quiet() -> None:
    """Who comes all the same is served, and begins the quiet anew."""
    envoy = Ending(2, 1, 0, 0, 1, 0, 0, 0, 0)
    assert await part(envoy, 60.0, envoy.clock, quiet_s=3.0)
    assert envoy.now == 8.0


async def test_the_bound() -> None:
    """Whatever runs."""
    envoy = Ending(1)
    assert not await part(envoy, 10.0, envoy.clock)
    assert envoy.now == 10.0


async def test_an_envoy_that_is_gone() -> None:
    """Nothing can be waited for."""
    envoy = Ending(None)
    assert await part(envoy, 10.0, envoy.clock)
    assert envoy.now == 1.0
