"""Learned weights outlive a restart of the sidecar: shown from its first fleet on, and lost to no bad file."""

import time
from pathlib import Path

import pytest

from control_plane.fleet.kept_weights import LONGEST_S, MAX_BYTES, as_json
from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import ENVOY, Kept, WeightRule, Weights
from control_plane.sidecar import kept_files, kept_weights
from control_plane.sidecar.kept_weights import KeptWeights
from control_plane.sidecar.sidecar import Sidecar
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, policy_text, running

ADAPTIVE = policy_text().replace("engine:", "trafficPolicy: {loadBalancer: {adaptiveWeights: {}}}, engine:")
SEEN = {ENVOY: Observed(20, 20, 0, 4, 40)}
LEARNED = tuple(Kept("p", address, 100, factor, SEEN) for address, factor in ((FIRST, 0.5), (SECOND, 1.5)))
"""What an earlier process had learned."""


def write(state: Path, age_s: float = 0.0, kept: tuple[Kept, ...] = LEARNED) -> Path:
    """The file, as it was left behind so long ago."""
    state.mkdir(exist_ok=True)
    path = state / "weights.json"
    path.write_bytes(kept_files.encoded(as_json(kept, time.time() - age_s)))
    return path


def shown(sidecar: Sidecar) -> list[int]:
    """The weights that Envoys and the picker begin with."""
    return [endpoint.weight for endpoint in sidecar._first_fleet.pools["p"]]


async def test_a_restart(tmp_path: Path) -> None:
    """The first fleet has them already, and they are written again at the end."""
    path = write(tmp_path / "state")
    async with running(tmp_path, ADAPTIVE, state_dir=path.parent) as sidecar:
        assert shown(sidecar) == [50, 150]
        assert sidecar.weights is not None
        assert [row["weight"] for row in sidecar.weights.status()] == [50, 150]
    async with running(tmp_path, ADAPTIVE, state_dir=path.parent) as sidecar:
        assert shown(sidecar) == [50, 150]


async def test_a_policy_that_does_not_learn(tmp_path: Path) -> None:
    """Shows what is configured."""
    path = write(tmp_path / "state")
    async with running(tmp_path, policy_text(), state_dir=path.parent) as sidecar:
        assert shown(sidecar) == [100, 100]


async def test_away_for_long(tmp_path: Path) -> None:
    """Nothing of it is believed."""
    path = write(tmp_path / "state", LONGEST_S + 60)
    async with running(tmp_path, ADAPTIVE, state_dir=path.parent) as sidecar:
        assert shown(sidecar) == [100, 100]


async def test_without_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written while anything is learned, so that it does not look older than it is."""
    monkeypatch.setattr(kept_weights, "WRITE_EVERY_S", 0.01)
    path = write(tmp_path / "state")
    async with running(tmp_path, ADAPTIVE, state_dir=path.parent):
        path.unlink()
        await eventually(path.exists)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged and left out"),
        (kept_files.encoded({"version": 7}), "is left out: of another version"),
        (kept_files.encoded({"version": 1, "saved_at": 0, "weights": [[1]]}), "is left out: not what was expected"),
        (b"x" * (MAX_BYTES + 1), "more than it can have, and is left out"),
    ],
)
async def test_files_that_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, words: str
) -> None:
    """The sidecar starts, says so once, and goes on without; nor does it touch the file before it has learned."""
    path = write(tmp_path / "state")
    path.write_bytes(content)
    async with running(tmp_path, ADAPTIVE, state_dir=path.parent) as sidecar:
        assert shown(sidecar) == [100, 100]
        assert caplog.text.count(words) == 1
    assert path.read_bytes() == content


def test_a_disk_that_takes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One complaint, and it is tried again."""
    (tmp_path / "state").write_text("in the way")
    weights = Weights()
    weights.restore(LEARNED, {"p": WeightRule()}, 0.0, 0.0)
    kept = KeptWeights(tmp_path / "state" / "weights.json", weights, lambda: 0.0, time.time)
    for _ in range(2):
        kept.save()
    assert caplog.text.count("weights cannot be kept") == 1
    (tmp_path / "state").unlink()
    kept.save()
    assert (tmp_path / "state" / "weights.json").exists()


async def test_nowhere_to_keep_it(tmp_path: Path) -> None:
    """Without a state directory weights are learned all the same, and nothing is written."""
    async with running(tmp_path, ADAPTIVE) as sidecar:
        sidecar._weights.restore(LEARNED, {"p": WeightRule()}, sidecar.clock(), 0.0)
    assert [each.name for each in tmp_path.iterdir()] == ["policy.yaml"]
