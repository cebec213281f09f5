"""The GPU of a simulated pod as exporters show it: JSON of one's own, and a page like dcgm-exporter's. Pure.

Only the fault `gpu` (`sim.faults`) changes it; a driver's error stays as long as that fault. The forms are described at
`ext_proc.signals.gpu_pages`.
"""

import json
from typing import Final

from sim.engine import Gauges
from sim.faults import Fault

STATUS_PATH: Final = "/gpu-status"
METRICS_PATH: Final = "/gpu-metrics"

CELSIUS: Final = 58.0
"""Under load with good cooling, and in a simulation also without load."""

MEMORY_MIB: Final = 81_559
"""Of an H100 with 80 GB, as its driver counts."""

USED_SHARE: Final = 0.9
"""Engines take that when they start."""


def _values(gauges: Gauges, fault: Fault | None) -> tuple[int, float, int]:
    """XID, °C, and per cent of the time that it is busy."""
    is_faulty = fault is not None and fault.kind == "gpu"
    xid, celsius = (fault.xid, fault.celsius) if fault is not None and is_faulty else (0, CELSIUS)
    return xid, celsius, 100 if gauges.running else 0


def status(name: str, gauges: Gauges, fault: Fault | None) -> str:
    """`/gpu-status` of a pod."""
    xid, celsius, busy = _values(gauges, fault)
    gpu = {
        "uuid": f"GPU-{name}",
        "pod": name,
        "xid": xid,
        "temperature": celsius,
        "memory_used": round(MEMORY_MIB * USED_SHARE),
        "memory_total": MEMORY_MIB,
        "utilization": busy / 100,
    }
    return json.dumps({"gpus": [gpu]})


def page(name: str, gauges: Gauges, fault: Fault | None) -> str:
    """`/gpu-metrics` of a pod, with the labels that dcgm-exporter has in Kubernetes."""
    xid, celsius, busy = _values(gauges, fault)
    used = round(MEMORY_MIB * USED_SHARE)
    labels = (
        f'gpu="0",UUID="GPU-{name}",device="nvidia0",modelName="simulated",Hostname="node-{name}",'
        f'container="engine",namespace="default",pod="{name}"'
    )
    families = (
        ("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.", xid),
        ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", celsius),
        ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", busy),
        ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).", MEMORY_MIB - used),
        ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", used),
    )
    return "".join(
        f"# HELP {family} {text}\n# TYPE {family} gauge\n{family}{{{labels}}} {value:g}\n"
        for family, text, value in families
    )
