"""A real llama.cpp server is asked for the tokens of prompts, and counts the same."""

from pathlib import Path

import aiohttp

from tests.e2e.test_llamacpp import llama_servers
from tests.kit.mesh import PolicyText, mesh

PROMPT = "Once upon a time there was a router, who counted the words of others. " * 20


async def test_the_engine_counts_the_same(tmp_path: Path) -> None:
    """Chats through its template and plain prompts: the decision has exactly the tokens that its `usage` has."""
    async with llama_servers(tmp_path, 1) as (address,):
        policy = PolicyText(
            text=f"""kvpilot: v1
listeners: [{{name: openai, address: LISTEN, picker: {{explain: always}}}}]
models: [{{name: tiny, pool: real, tokenizer: {{from: engine}}}}]
pools: {{real: {{engine: llamacpp, endpoints: [{{address: {address}}}]}}}}
"""
        )
        async with mesh(tmp_path, policy) as running:
            counted = []
            for messages in ([{"role": "user", "content": PROMPT}], [{"role": "system", "content": "x"}]):
                answer = await running.chat("tiny", messages, max_tokens=4, stream=False)
                decision = await running.decision(answer.decision)
                counted.append((decision["request"]["tokens"], answer.prompt_tokens, decision["request"]["counted_by"]))
            async with aiohttp.ClientSession() as session:
                body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 4}
                async with session.post(f"{running.url}/v1/completions", json=body) as response:
                    usage = (await response.json())["usage"]
                    decision = await running.decision(response.headers["x-kvpilot-decision"])
            counted.append((decision["request"]["tokens"], usage["prompt_tokens"], decision["request"]["counted_by"]))
    for told, found, by in counted:
        assert (told, by) == (found, "tokens")
    assert counted[0][0] > 500
