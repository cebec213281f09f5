"""Hardware in the service: from an exporter's page to the status, and what edits of the policy do to it."""

import json
from dataclasses import replace
from typing import Any

from ext_proc.core.settings import EndpointSettings, GpuSettings, HealthSettings, PickerSettings, PoolSettings
from tests.kit.waiting import eventually
from tests.unit.ext_proc.signals.test_scrape import Engine, serving
from tests.unit.ext_proc.test_service import Running, running

A, B = "10.0.0.1:8000", "10.0.0.2:8000"
FATAL = frozenset({79})


def settings(engine: Engine, gpu: GpuSettings | None) -> PickerSettings:
    """Pool `p` of both endpoints, whose GPUs are looked at; and `q` of the first, whose are not there."""
    endpoints = tuple(EndpointSettings(address=each, engine="none", labels={"pod": each}) for each in (A, B))
    first = PoolSettings(name="p", cluster="pool/p", endpoints=endpoints, health=HealthSettings(gpu=gpu))
    second = PoolSettings(name="q", cluster="pool/q", endpoints=endpoints[:1], health=HealthSettings())
    return PickerSettings(version="v1", pools=(first, second))


def told(xid: int) -> str:
    """The page of a node with two pods, one GPU each; the first has this error."""
    return json.dumps([{"uuid": "a", "pod": A, "xid": xid}, {"uuid": "b", "pod": B, "xid": 0}])


def row(service: Running, address: str = A) -> dict[str, Any]:
    """What the status says of an endpoint."""
    pools = service.service.status()["pools"]
    return next(row for row in pools["p"]["endpoints"] if row["address"] == address)


async def test_from_the_page_to_the_status_and_back() -> None:
    """A fault shows, also after an edit of other settings; looked at no more, it is forgotten, and shows again when it
    is looked at again. The first pool says how an endpoint of two is judged."""
    async with serving(Engine(page=told(0))) as engine:
        url = f"http://{engine.address}/gpus"
        gpu = GpuSettings(url=url, match=(("pod", "{label.pod}"),), interval_s=0.01, fatal_xids=FATAL)
        async with running(settings(engine, gpu)) as service:

            async def is_told() -> bool:
                return "gpus" in row(service) and "gpus" in row(service, B)

            async def is_out() -> bool:
                return bool(row(service)["health"] == "unhealthy")

            await eventually(is_told, "both to be told of")
            engine.page = told(79)
            await eventually(is_out, "the fault to be found")
            assert row(service)["why"] == "GPU a has error XID 79"
            assert row(service, B)["health"] == "healthy"
            assert service.service.survey.why(A) == "GPU a has error XID 79"
            assert service.service.intake.gpu_reads["ok"] > 0

            service.service.apply_settings(settings(engine, replace(gpu, max_temperature=90.0)))
            assert await is_out(), "what was told counts on"

            service.service.apply_settings(settings(engine, None))
            assert (row(service)["health"], row(service)["why"]) == ("healthy", "")
            assert "gpus" not in row(service)
            assert service.service.intake.gpus_failing == {}

            service.service.apply_settings(settings(engine, gpu))
            await eventually(is_out, "the fault to be known still")
            engine.status = 500

            async def is_failing() -> bool:
                return dict(service.service.intake.gpus_failing) == {url: "HTTP 500"}

            await eventually(is_failing, "the exporter to fail")
            assert await is_out()
