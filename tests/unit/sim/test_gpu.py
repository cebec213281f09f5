"""The pages about a pod's hardware."""

import json

import aiohttp
import pytest

from sim import gpu
from sim.events import Gauges
from sim.faults import BadFaultError, Fault, checked
from sim.pod import Pod, PodSpec
from tests.unit.sim.live import FAST


def test_a_gpu_without_a_fault() -> None:
    """Cool, without errors, its memory taken; busy while anything runs."""
    (told,) = json.loads(gpu.status("pod-0", Gauges(), None))["gpus"]
    assert (told["xid"], told["temperature"], told["utilization"]) == (0, gpu.CELSIUS, 0.0)
    assert json.loads(gpu.status("pod-0", Gauges(running=2), Fault("slow")))["gpus"][0]["utilization"] == 1.0
    assert 'DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-pod-0"' in gpu.page("pod-0", Gauges(), Fault("lie"))


@pytest.mark.parametrize("fault", [Fault("gpu", xid=1000), Fault("gpu", xid=-1), Fault("gpu", celsius=0.0)])
def test_faults_that_make_no_sense(fault: Fault) -> None:
    """No driver reports them."""
    with pytest.raises(BadFaultError):
        checked(fault)


async def test_a_pod_with_a_failed_gpu() -> None:
    """Its pages tell of it, and it serves all the same; with the fault the error is gone."""
    pod = Pod(PodSpec(name="pod-0", models=("m",), profile=FAST))
    async with pod, aiohttp.ClientSession(f"http://{pod.address}") as client:

        async def told() -> tuple[int, str]:
            async with client.get(gpu.STATUS_PATH) as answer:
                xid = (await answer.json())["gpus"][0]["xid"]
            async with client.get(gpu.METRICS_PATH) as answer:
                lines = (await answer.text()).splitlines()
            return xid, next(line.rpartition(" ")[2] for line in lines if line.startswith("DCGM_FI_DEV_XID"))

        assert await told() == (0, "0")
        await pod.set_fault({"kind": "gpu", "xid": 48})
        assert await told() == (48, "48")
        async with client.post("/v1/completions", json={"model": "m", "prompt": "hi", "max_tokens": 1}) as answer:
            assert answer.status == 200
        await pod.set_fault(None)
        assert await told() == (0, "0")
