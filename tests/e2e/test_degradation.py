"""Every pod of a model goes away: another pool answers, then another model, labelled; and it all comes back."""

from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, InternalServerError

from sim.fleet import SimFleet
from tests.e2e.test_notifications import told
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.waiting import eventually
from tests.unit.control_plane.notices.receiver import receiving

MESSAGES: Any = [{"role": "user", "content": "hello there"}]

POLICY = """
kvpilot: v1
listeners:
  - {{name: openai, address: LISTEN, picker: {{explain: never}}}}
models:
  - name: large
    aliases: [gpt-4]
    pool: a
    fallback: [{{pool: b}}, {{model: little, features: {{maxTokens: 5}}}}]
    degradation: {{recoverAfter: 500ms}}
  - {{name: little, pool: c, rewrite: {{model: qwen}}}}
pools:
  a: {{endpoints: [{a}], drain: {{timeout: 1s}}}}
  b: {{endpoints: [{b}]}}
  c: {{endpoints: [{c}]}}
notifications:
  clearAfter: 100ms
  webhooks: [{{name: hook, url: "{hook}", kinds: [degraded]}}]
"""


def text(fleets: tuple[SimFleet, SimFleet, SimFleet], hook: str) -> PolicyText:
    """The pods of the three pools."""
    a, b, c = (", ".join(f'{{address: "{address}"}}' for address in fleet.addresses) for fleet in fleets)
    return PolicyText(text=POLICY.format(a=a, b=b, c=c, hook=hook))


async def label(client: AsyncOpenAI, *, stream: bool = False) -> tuple[str, str]:
    """(how it is labelled, the model that answered); what fails on its way raises."""
    raw = client.chat.completions.with_raw_response
    if not stream:
        reply = await raw.create(model="gpt-4", messages=MESSAGES, max_tokens=9)
        answer = reply.parse()
        assert answer.choices[0].message.content
        return reply.headers.get("x-kvpilot-degraded", ""), answer.model
    streamed = await raw.create(model="gpt-4", messages=MESSAGES, max_tokens=9, stream=True)
    chunks = [chunk async for chunk in streamed.parse()]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return streamed.headers.get("x-kvpilot-degraded", ""), chunks[0].model


async def becomes(client: AsyncOpenAI, expected: tuple[str, str]) -> None:
    """Waits until requests are answered so, plain and streamed: those that find out that pods are gone fail, and one
    that finds out that a pod is back is answered by it."""

    async def is_so() -> bool:
        try:
            return [await label(client, stream=stream) for stream in (False, True, False)] == [expected] * 3
        except InternalServerError:
            return False

    await eventually(is_so, f"answers as {expected}", 20.0)


async def test_down_the_levels_and_back(tmp_path: Path) -> None:
    """The other pool, the other model; each labelled, plain and streamed, none failing once it is known; told
    once; and all by itself back to the beginning."""
    async with (
        quick_fleet(2, "large") as a,
        quick_fleet(1, "large") as b,
        quick_fleet(1, "qwen") as c,
        receiving() as receiver,
        mesh(tmp_path, text((a, b, c), receiver.url)) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
    ):
        await eventually(running.is_synced, "the first configuration")
        assert await label(client) == await label(client, stream=True) == ("", "large")
        levels = (
            (a, ("pool/b", "large")),
            (b, ("little", "qwen")),
        )
        for fleet, expected in levels:
            for pod in fleet:
                await pod.stop()
            await becomes(client, expected)
            assert [await label(client) for _ in range(4)] == [expected] * 4
        await eventually(lambda: told(receiver, "degraded") == [("open", "warning")], "the word of it")
        metrics = await running.kvpilot.text("/metrics")
        assert 'kvpilot_degraded_total{level="model",model="large",to="little"}' in metrics
        (row,) = (await running.kvpilot.get("/status"))["degraded"]
        assert (row["model"], row["pool"], row["label"]) == ("large", "a", "little")

        for pod in a:
            await pod.start()
        await becomes(client, ("", "large"))
        assert await label(client) == ("", "large")

        async def is_over() -> bool:
            return told(receiver, "degraded") == [("open", "warning"), ("recovered", "warning")]

        await eventually(is_over, "the word of its end", 20.0)
        assert (await running.kvpilot.get("/status"))["degraded"] == []


FIRST = """
kvpilot: v1
listeners:
  - {{name: openai, address: LISTEN}}
models:
  - {{name: large, pool: a{fallback}}}
  - {{name: qwen, pool: b}}
pools:
  a: {{endpoints: [{{address: "{a}"}}]}}
  b: {{endpoints: [{{address: "{b}"}}]}}
"""


async def test_the_first_fallback_of_a_policy(tmp_path: Path) -> None:
    """An edit adds it while nobody is left. It is used when Envoy has it, and no answer comes without its label, though
    the client's connection is older than the edit."""
    async with quick_fleet(1, "large") as a, quick_fleet(1, "qwen") as b:
        places = {"a": a.addresses[0], "b": b.addresses[0]}
        policy = PolicyText(text=FIRST.format(fallback="", **places))
        async with mesh(tmp_path, policy) as running:

            async def ask() -> tuple[int, str]:
                body = {"model": "large", "messages": MESSAGES, "max_tokens": 2}
                async with running.session.post(f"{running.url}/v1/chat/completions", json=body) as reply:
                    await reply.read()
                    return reply.status, reply.headers.get("x-kvpilot-degraded", "")

            await eventually(running.is_synced, "the first configuration")
            assert await ask() == (200, "")
            await a["pod-0"].stop()
            assert (await ask())[0] == 503
            policy.text = FIRST.format(fallback=", fallback: [qwen]", **places)
            await running.edit()
            seen: list[tuple[int, str]] = []

            async def is_answered() -> bool:
                seen.append(await ask())
                return seen[-1][0] == 200

            await eventually(is_answered, "the other model's answer", 10.0)
            assert seen[-1] == (200, "qwen")
            assert {status for status, _ in seen[:-1]} <= {503}
