"""How long an edit of the policy file takes to take effect: `python -m bench.edit [--edits N]`.

A running kvpilot and a real Envoy; each edit adds an endpoint to a pool or takes it away. Two times are measured from
the moment at which the file is saved: until Envoy has ACKed what came of it, and, for additions, until a pick names the
new endpoint. The answer is looked for every few milliseconds, so that is the resolution.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh

LOOK_S = 0.005
PATIENCE_S = 10.0


async def _edited(running: Mesh) -> float:
    """Saves the policy and gives the seconds until Envoy has ACKed it."""
    started = time.perf_counter()
    await running.edit()
    return time.perf_counter() - started


async def _picked(running: Mesh, address: str, started: float) -> float:
    """Seconds since `started` at which a pick first named `address`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await running.chat("sim", "hello", max_tokens=1)
            decision = await running.kvpilot.get(f"/decisions/{answer.decision}")
            if decision["endpoints"][0] == address:
                return time.perf_counter() - started
            await asyncio.sleep(LOOK_S)


async def measure(edits: int) -> dict[str, list[float]]:
    """Times in ms by what was waited for."""
    seen: dict[str, list[float]] = {"ACKed by Envoy": [], "new endpoint picked": []}
    async with quick_fleet(2, "sim") as fleet:
        one, two = fleet.addresses
        policy = PolicyText(pools={"a": [one]}, models={"sim": "a"}, strategy="round-robin")
        with tempfile.TemporaryDirectory(prefix="kvpilot-bench-") as name:
            async with mesh(Path(name), policy) as running:
                for _ in range(edits):
                    policy.pools["a"] = [one, two]
                    started = time.perf_counter()
                    acked = asyncio.create_task(_edited(running))
                    seen["new endpoint picked"].append(await _picked(running, two, started) * 1e3)
                    seen["ACKed by Envoy"].append(await acked * 1e3)
                    policy.pools["a"] = [one]
                    seen["ACKed by Envoy"].append(await _edited(running) * 1e3)
    return seen


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--edits", type=int, default=10, help="additions, and as many removals (default %(default)s)")
    args = parser.parse_args()
    seen = asyncio.run(measure(args.edits))
    print(f"{'ms from save to':22} {'least':>7} {'median':>7} {'most':>7}")
    rows = {}
    for name, times in seen.items():
        ordered = sorted(times)
        rows[name] = {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}
        print(f"{name:22} " + " ".join(f"{value:7.0f}" for value in rows[name].values()))
    print(json.dumps({"bench": "edit", "unit": "ms", "rows": rows}))


if __name__ == "__main__":
    main()
