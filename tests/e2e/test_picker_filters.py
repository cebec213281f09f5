"""Filters before the strategy, through a real Envoy: length, kind, zone, loaded models, batches."""

import json
from dataclasses import replace
from pathlib import Path

from sim.fleet import SimFleet, pod_specs
from tests.kit.fleet import QUICK
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {explain: always}}]
models: [{name: llama, pool: mixed}, {name: qwen, pool: mixed}]
pools:
  mixed:
    picker:
      strategy: random
      filters:
        - {minPromptTokens: 500, labels: {memory: large}}
        - {kinds: [embedding], labels: {role: embeddings}}
        - {kinds: [chat], zone: b}
        - {modelLoaded: true}
        - {batch: {}}
    endpoints:
"""
ENDPOINT = "      - {address: ADDRESS, zone: ZONE, labels: {LABELS}}\n"
PODS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("llama", "qwen"), "a", "memory: large"),
    (("llama", "qwen"), "a", "role: embeddings"),
    (("llama",), "a", ""),
    (("qwen",), "a", ""),
    (("llama", "qwen"), "b", ""),
)
"""Models, zone and labels of each pod."""


async def asked(running: Mesh, fleet: SimFleet, path: str = "/v1/completions", **about: object) -> int:
    """The number of the pod that a request was sent to."""
    headers = {"content-type": "application/json"}
    if batch := about.pop("batch", ""):
        headers["x-batch-id"] = str(batch)
    body = json.dumps({"model": "llama", "max_tokens": 1, "prompt": "hi", **about})
    async with running.session.post(running.url + path, data=body, headers=headers) as response:
        await response.read()
        return fleet.addresses.index(response.headers["x-kvpilot-pod"])


async def test_who_comes_first(tmp_path: Path) -> None:
    """Long prompts, embeddings, chats, models and batches have their pods, whatever the strategy draws."""
    plain = pod_specs(len(PODS), profile=QUICK)
    async with SimFleet(
        [replace(spec, models=models) for spec, (models, *_) in zip(plain, PODS, strict=True)]
    ) as fleet:
        text = POLICY + "".join(
            ENDPOINT.replace("ADDRESS", address).replace("ZONE", zone).replace("LABELS", labels)
            for address, (_, zone, labels) in zip(fleet.addresses, PODS, strict=True)
        )
        async with mesh(tmp_path, PolicyText(text=text)) as running:
            assert {await asked(running, fleet, prompt=f"{n} " + "long " * 500) for n in range(8)} == {0}
            assert {await asked(running, fleet, "/v1/embeddings", input=f"text {n}") for n in range(8)} == {1}

            chats = {await asked(running, fleet, "/v1/chat/completions", messages=[]) for _ in range(8)}
            assert chats == {4}

            async def is_known() -> bool:
                for model, without in (("llama", 3), ("qwen", 2)):
                    await asked(running, fleet, model=model)
                    (latest,) = (await running.kvpilot.get("/decisions?limit=1"))["decisions"]
                    if latest["left_out"] != [{"address": fleet.addresses[without], "why": "filters[3]"}]:
                        return False
                return True

            await eventually(is_known, "engines to tell their models")
            assert 2 not in {await asked(running, fleet, model="qwen") for _ in range(20)}
            homes = {name: {await asked(running, fleet, batch=name) for _ in range(5)} for name in "abcdefgh"}
            assert {len(pods) for pods in homes.values()} == {1}
