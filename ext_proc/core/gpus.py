"""What is known of a GPU at one look, and of all those behind an endpoint. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as its exporter shows it (`ext_proc.signals.gpu_pages`); None is not told.

    `xid` is the last error that the driver reported, 0 for none since the exporter began; `recent_xids` are those that
    the exporter itself calls recent. Temperatures are in °C, shares from 0 to 1, `memory_errors` are those that could
    not be corrected since the driver was loaded. `is_worn`: broken memory cannot be replaced by spare rows any more.
    `fault` is what is wrong with it in the exporter's own words.
    """

    name: str
    xid: int = 0
    recent_xids: tuple[int, ...] = ()
    temperature: float | None = None
    memory_temperature: float | None = None
    memory_usage: float | None = None
    utilization: float | None = None
    memory_errors: int | None = None
    is_worn: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusTold:
    """The GPUs of an endpoint, at least one; seconds of the caller's monotonic clock.

    `source` is where they were found, and by what: GPUs of another one may never have been the endpoint's.
    """

    address: str
    at: float
    gpus: tuple[Gpu, ...]
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusUntold:
    """Nothing could be learned of the GPUs of an endpoint, which says nothing about them."""

    address: str
    at: float
