"""The policy is edited under load: it takes effect, no request fails, a broken edit changes nothing."""

from collections import Counter
from pathlib import Path

from control_plane.openai_client import Answer
from tests.e2e.test_picker_gone import grown, load
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.waiting import eventually


async def test_weight_endpoint_and_model_are_edited_under_load(tmp_path: Path) -> None:
    """An endpoint comes, one goes, weights move, a model comes and goes; every request in between succeeds."""
    async with quick_fleet(4) as fleet:
        one, two, three, four = fleet.addresses
        policy = PolicyText(
            pools={"a": [one, two], "b": [four]}, models={"llama": "a", "qwen": "b"}, strategy="round-robin"
        )
        async with mesh(tmp_path, policy) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                await grown(answers, 10)
                policy.pools["a"] = [one, two, three]
                await running.edit()

                async def three_is_picked() -> bool:
                    latest = (await running.kvpilot.get("/decisions?limit=20"))["decisions"]
                    return any(decision["endpoints"][:1] == [three] for decision in latest)

                await eventually(three_is_picked, "a pick of the new endpoint")

                policy.weights = {one: 10, two: 90}
                await running.edit()
                dump = await running.envoy_admin("/config_dump?include_eds=on")
                assert '"load_balancing_weight": 90' in dump

                policy.pools["a"] = [two, three]
                await running.edit()
                gone = (await running.kvpilot.get("/status"))["pools"]["a"]["endpoints"]
                assert one not in {endpoint["address"] for endpoint in gone}
                marker = len(answers)
                await grown(answers, 30)
                later = [answer.decision for model, answer in answers[marker + 6 :] if model == "llama"]
                served = Counter([(await running.decision(one_id))["outcome"]["served"] for one_id in later])
                assert set(served) == {two, three}

                policy.models["qwen-next"] = "b"
                policy.aliases["qwen-next"] = ["latest"]
                await running.edit()
                await grown(answers, 6)

                del policy.models["qwen-next"]
                await running.edit()
                await grown(answers, 6)
            assert [answer.error for _, answer in answers if not answer.ok] == []


async def test_a_new_model_is_served_and_a_removed_one_refused(tmp_path: Path) -> None:
    """The same fleet under another set of models: the added one is served, the removed one is unknown."""
    async with quick_fleet(1) as fleet:
        policy = PolicyText(pools={"a": fleet.addresses}, models={"llama": "a"})
        async with mesh(tmp_path, policy) as running:
            assert (await running.chat("qwen", "hello", stream=False)).status == 404
            policy.models = {"qwen": "a"}
            await running.edit()
            assert (await running.chat("qwen", "hello", stream=False)).ok
            assert (await running.chat("llama", "hello", stream=False)).status == 404


async def test_a_broken_edit_changes_nothing_and_says_where(tmp_path: Path) -> None:
    """The last good policy stays with its version; status names the line; the next good edit is applied."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"a": fleet.addresses}, models={"llama": "a"})
        async with mesh(tmp_path, policy) as running:
            good = (await running.kvpilot.get("/status"))["policy"]
            stats = await running.stats(r"(cds|lds)\.update_success$")
            broken = policy.render().replace("kv-aware", "kv-awre")
            running.kvpilot.policy.write_text(broken)

            async def rejected() -> bool:
                return bool((await running.kvpilot.get("/status"))["policy"]["state"] == "rejected")

            await eventually(rejected, "the broken edit to be noticed")
            now = (await running.kvpilot.get("/status"))["policy"]
            assert now["version"] == good["version"]
            (diagnostic,) = now["diagnostics"]
            line = next(number for number, text in enumerate(broken.splitlines(), 1) if "kv-awre" in text)
            assert diagnostic["line"] == line
            assert diagnostic["column"] == broken.splitlines()[line - 1].index("kv-awre") + 1
            assert "kv-aware" in diagnostic["hint"]
            assert await running.stats(r"(cds|lds)\.update_success$") == stats
            assert (await running.chat("llama", "hello")).ok

            policy.strategy = "least-request"
            await running.edit()
            answer = await running.chat("llama", "hello")
            assert (await running.decision(answer.decision))["strategy"] == "least-request"
