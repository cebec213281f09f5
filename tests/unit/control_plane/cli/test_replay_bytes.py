"""The numbers of a small replay, byte by byte: the same words give them on any machine.

Whoever changes an engine, a rule, the picker or the replay on purpose renews them and reads the difference:

    KVPILOT_UPDATE_GOLDEN=1 pytest tests/unit/control_plane/cli/test_replay_bytes.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[3] / "data" / "sim" / "replay.json"
UPDATE = "KVPILOT_UPDATE_GOLDEN"

# All rules, and all that can happen to them: little memory, two routers in two zones, faults, clients that go away.
WORDS = (
    "replay", "generate:chat", "--requests", "60", "--rate", "3", "--profile", "demo", "--engines", "4", "--kv", "0.5",
    "--routers", "2", "--zones", "2", "--give-up", "8", "--abort", "0.1", "--first-byte-s", "5", "--output", "json",
    "--fault", "slow:1:2@1..4", "--fault", "restart:2@2..3", "--fault", "hang:3@3..4", "--fault", "crash:4@5",
)  # fmt: skip


@pytest.mark.parametrize(("hash_seed", "jobs"), [("1", "1"), ("2", "2")])
def test_a_small_replay_has_these_bytes(hash_seed: str, jobs: str) -> None:
    """Whatever the order of sets and hashes in a process, and however many processes there are."""
    played = subprocess.run(
        [sys.executable, "-m", "control_plane.cli", *WORDS, "--jobs", jobs],
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=60,
        check=True,
    )
    if os.environ.get(UPDATE) and jobs == "1":
        GOLDEN.write_bytes(played.stdout)
    found, wanted = played.stdout.decode().splitlines(), GOLDEN.read_text(encoding="utf-8").splitlines()
    different = [f"line {n}: {a} | {b}" for n, (a, b) in enumerate(zip(found, wanted, strict=False), 1) if a != b]
    assert (different[:5], len(found)) == ([], len(wanted))
