"""Two minutes of mixed faults; `python -m bench.soak` goes on for an hour."""

import asyncio
import json
import sys

import pytest

MINUTES = "2"


@pytest.mark.long
async def test_two_minutes() -> None:
    """Each kind of fault once: nothing is lost, nothing stays in flight, memory and descriptors stay as they are."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.soak", "--minutes", MINUTES), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    report = json.loads(out.decode().splitlines()[-1])
    assert [one for one in report["bounds"] if not one["holds"]] == [], report["errors"]
    assert process.returncode == 0
    assert report["faults"] == 11
