"""A real Envoy, real pods, real receivers: what happens is told once, its end is told once, and no request waits."""

import asyncio
from pathlib import Path
from typing import Any

from control_plane.cli import main
from control_plane.demo.conversations import text
from tests.e2e.test_rollout import BAD_LISTENER, policy_text, write
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually
from tests.unit.control_plane.notices.receiver import Receiver, receiving


def told(receiver: Receiver, kind: str) -> list[tuple[str, str]]:
    """(state, severity) of what it was told of a kind."""
    return [
        (body["state"], body["severity"])
        for body in receiver.taken
        if not isinstance(body, list) and body["kind"] == kind
    ]


async def test_from_the_trouble_to_its_end(tmp_path: Path) -> None:
    """Envoy refuses a listener; all pods die; both are told once each, and once more when they are over. Beside it are
    a webhook that nobody listens to and one that never answers: requests are served as ever."""
    (dead,) = free_ports(1)
    async with quick_fleet(2, "llama") as fleet, receiving() as receiver, receiving(hangs=True) as hung:
        hooks = f"""\
notifications:
  clearAfter: 1s
  ejectedPercent: 100
  webhooks:
    - {{name: good, url: "{receiver.url}"}}
    - {{name: dead, url: "http://127.0.0.1:{dead}/"}}
    - {{name: hung, url: "{hung.url}", timeout: 1s}}
    - {{name: alerts, format: alertmanager, url: "http://127.0.0.1:{receiver.port}/am"}}
"""

        def policy(more: str = "") -> str:
            return policy_text(fleet.addresses, "llama", more=hooks + more)

        async with mesh(tmp_path, PolicyText(text=policy())) as running:
            await eventually(running.is_synced, "the first configuration")
            write(running, policy(BAD_LISTENER))
            await eventually(lambda: told(receiver, "rejected-push") == [("open", "critical")], "the refusal")
            write(running, policy())
            await eventually(lambda: len(told(receiver, "rejected-push")) == 2, "its end")

            for pod in fleet:
                await pod.stop()

            # One request tries both; more of them would only make the picker wait longer before it tries again.
            await running.chat("llama", "hello")
            await eventually(lambda: told(receiver, "endpoints-out") == [("open", "critical")], "the word of dead pods")
            for pod in fleet:
                await pod.start()

            async def is_over() -> bool:
                await running.chat("llama", "hello")
                return told(receiver, "endpoints-out")[-1][0] == "recovered"

            await eventually(is_over, "the word of their return", 20.0)

            answers = [await running.chat("llama", text(number, 20), stream=False) for number in range(30)]
            assert [answer.error for answer in answers if not answer.ok] == []
            assert max(answer.total_ms for answer in answers) < 2_000, "no request waits for a webhook"
            assert await asyncio.to_thread(main, ["notify", "--admin", running.kvpilot.admin]) == 1
            metrics = await running.kvpilot.text("/metrics")

    assert told(receiver, "rejected-push") == [("open", "critical"), ("recovered", "critical")]
    assert told(receiver, "endpoints-out") == [("open", "critical"), ("recovered", "critical")]
    alerts: list[dict[str, Any]] = [alert for body in receiver.taken if isinstance(body, list) for alert in body]
    assert {alert["labels"]["alertname"] for alert in alerts} >= {"KvpilotRejectedPush", "KvpilotEndpointsOut"}
    for name in ("dead", "hung"):
        assert f'kvpilot_notices_delivered_total{{result="sent",webhook="{name}"}} 0.0' in metrics
