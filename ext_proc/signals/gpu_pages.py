"""What exporters tell of GPUs: the page of NVIDIA's dcgm-exporter, or JSON of one's own. Pure.

    rows = read(page)
    gpus = matching(rows, (("pod", "llama-0"),))

A page that begins like JSON is read as such, any other one as Prometheus text. No page raises anything but ValueError.

DCGM's families (docs.nvidia.com, "DCGM field identifiers", and dcgm-exporter's list of counters):

    DCGM_FI_DEV_XID_ERRORS          the last XID; stays until DCGM is restarted, and a clean GPU may have no row
    DCGM_EXP_XID_ERRORS_COUNT       {xid=…}: how often each came in the last minutes, where that is switched on
    DCGM_FI_DEV_GPU_TEMP            °C, and DCGM_FI_DEV_MEMORY_TEMP
    DCGM_FI_DEV_FB_USED             MiB, with DCGM_FI_DEV_FB_FREE
    DCGM_FI_DEV_GPU_UTIL            per cent of the time in which anything ran
    DCGM_FI_DEV_ECC_DBE_VOL_TOTAL   memory errors of two bits since the driver was loaded
    DCGM_FI_DEV_ROW_REMAP_FAILURE   1: no spare rows are left

Rows of one GPU have the same labels, of which `UUID`, `gpu` and, for an instance (MIG), `GPU_I_ID` name it.

JSON is a list of GPUs, an object with such a list as `gpus`, or one GPU, which has one of these keys but `name` and
`reason` at least. All keys are optional:

    {"gpus": [{"uuid": "GPU-5a…", "xid": 0, "temperature": 61, "memory_temperature": 70,
               "memory_used": 70123, "memory_total": 81559, "utilization": 0.97,
               "memory_errors": 0, "healthy": true, "reason": ""}]}

A GPU is named by `uuid`, `name`, `index` or its place. Temperatures are in °C, both memories in the same unit,
`utilization` is a share or per cent, `xids` are recent errors, `healthy: false` is a fault for the `reason` given.
Whatever else is there can be matched like a label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ext_proc.core.gpus import Gpu
from ext_proc.signals.exposition import Labels, Scanner
from ext_proc.signals.numbers import ratio

MAX_GPUS: Final = 256
"""Rows of one page: 16 GPUs of the largest node, each in 7 instances, are fewer."""

MAX_BYTES: Final = 1 << 21
"""Half as much again as 16 GPUs in 7 instances each have, with all of DCGM's usual families; a page for 8 GPUs has some
60 KB and takes 2 ms to read."""

MAX_TEXT: Final = 120
"""Characters of names and reasons, which go to logs and tables; a UUID of an instance has 40."""

_HOTTEST: Final = 200.0
"""°C: whatever says more measures nothing. Solder melts below."""

_BLANK: Final = 2_147_483_632
"""DCGM's numbers from here on say that there is none (`dcgm_structs.h`: `DCGM_INT32_BLANK`)."""

_MAX_XID: Final = 9_999

_XID: Final = "DCGM_FI_DEV_XID_ERRORS"
_RECENT: Final = "DCGM_EXP_XID_ERRORS_COUNT"
_HEAT: Final = "DCGM_FI_DEV_GPU_TEMP"
_MEMORY_HEAT: Final = "DCGM_FI_DEV_MEMORY_TEMP"
_USED: Final = "DCGM_FI_DEV_FB_USED"
_FREE: Final = "DCGM_FI_DEV_FB_FREE"
_LOAD: Final = "DCGM_FI_DEV_GPU_UTIL"
_ERRORS: Final = "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"
_WORN: Final = "DCGM_FI_DEV_ROW_REMAP_FAILURE"

_SCANNER: Final = Scanner((_XID, _RECENT, _HEAT, _MEMORY_HEAT, _USED, _FREE, _LOAD, _ERRORS, _WORN))

_MOST_XIDS: Final = 16
"""Different errors of one GPU in five minutes."""

MAX_LABEL_BYTES: Final = 1 << 18
"""Of different rows: 256 GPUs with a thousand bytes each, as some of Kubernetes' labels make them, or 64 of them with a
dozen errors each. To read that takes some 50 ms, in which nobody is picked."""

_OF_ONE_FAMILY: Final = ("xid", "window_size_in_ms", "err_code", "err_msg")
"""Labels that only rows about errors have."""

_KEYS: Final = frozenset(
    {
        "uuid", "index", "xid", "xids", "temperature", "memory_temperature", "memory_used", "memory_total",
        "utilization", "memory_errors", "healthy",
    }
)  # fmt: skip
"""Of which an object has one that is a GPU and nothing else, such as an error's."""


@dataclass(frozen=True, slots=True)
class Row:
    """A GPU, and by what it can be found."""

    labels: Labels
    gpu: Gpu


def read(page: bytes) -> tuple[Row, ...]:
    """The GPUs of a page; raises ValueError where there are none."""
    if len(page) > MAX_BYTES:
        raise ValueError(f"the page has more than {MAX_BYTES} bytes")
    is_json = page.lstrip()[:1] in (b"{", b"[")
    rows = _from_json(page) if is_json else _from_text(page)
    if not rows:
        raise ValueError("the page tells of no GPU")
    return rows


def matching(rows: Iterable[Row], match: Iterable[tuple[str, str]]) -> tuple[Gpu, ...]:
    """The GPUs whose labels have these values; a value with commas stands for any of its parts."""
    wanted = [(name, frozenset(part.strip() for part in value.split(","))) for name, value in match]
    return tuple(row.gpu for row in rows if all(row.labels.get(name) in values for name, values in wanted))


def _from_text(page: bytes) -> tuple[Row, ...]:
    samples = _SCANNER(page)
    if samples.label_bytes() > MAX_LABEL_BYTES:
        raise ValueError(f"the labels on the page have more than {MAX_LABEL_BYTES} bytes")
    found: dict[tuple[tuple[str, str], ...], tuple[dict[str, float], list[int]]] = {}
    for name in _SCANNER.names:
        if len(samples.values(name)) > (MAX_GPUS if name != _RECENT else MAX_GPUS * _MOST_XIDS):
            raise ValueError(f"the page tells of more than {MAX_GPUS} GPUs")
        for labels, value in samples.rows(name):
            if value >= _BLANK:
                continue
            key = tuple(sorted(pair for pair in labels.items() if pair[0] not in _OF_ONE_FAMILY))
            values, recent = found.setdefault(key, ({}, []))
            if name != _RECENT:
                values[name] = value
            elif value and (xid := _xid(labels.get("xid"))):
                recent.append(xid)
            if len(found) > MAX_GPUS:
                raise ValueError(f"the page tells of more than {MAX_GPUS} GPUs")
    rows = (Row(dict(key), _of_values(dict(key), *told)) for key, told in found.items())
    return tuple(sorted(rows, key=lambda row: row.gpu.name))


def _of_values(labels: Labels, values: Mapping[str, float], recent: list[int]) -> Gpu:
    instance = labels.get("GPU_I_ID", "")
    name = labels.get("UUID") or labels.get("gpu") or labels.get("device", "")
    used, free, load = values.get(_USED), values.get(_FREE), values.get(_LOAD)
    errors = values.get(_ERRORS)
    return Gpu(
        name=_text(f"{name}/{instance}" if instance else name),
        xid=_xid(values.get(_XID)),
        recent_xids=tuple(sorted(recent)),
        temperature=_heat(values.get(_HEAT)),
        memory_temperature=_heat(values.get(_MEMORY_HEAT)),
        memory_usage=_share(used, None if used is None or free is None else used + free),
        utilization=None if load is None else min(load / 100, 1.0),
        memory_errors=None if errors is None else int(errors),
        is_worn=values.get(_WORN) == 1,
    )


def _from_json(page: bytes) -> tuple[Row, ...]:
    try:
        value = msgspec.json.decode(page)
    except RecursionError:
        raise ValueError("JSON in which values are nested without end") from None
    told = value
    if isinstance(value, dict):
        told = value["gpus"] if "gpus" in value else [value] if value.keys() & _KEYS else []
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise ValueError("`gpus` is no list of objects")
    if len(told) > MAX_GPUS:
        raise ValueError(f"the page tells of more than {MAX_GPUS} GPUs")
    return tuple(_of_object(each, place) for place, each in enumerate(told))


def _of_object(told: Mapping[str, Any], place: int) -> Row:
    name = next((told[key] for key in ("uuid", "name", "index") if told.get(key) not in (None, "")), place)
    recent = told.get("xids")
    errors, load = _number(told.get("memory_errors")), _number(told.get("utilization"))
    is_faulty = told.get("healthy") is False
    gpu = Gpu(
        name=_text(str(name)),
        xid=_xid(told.get("xid")),
        recent_xids=tuple(sorted(xid for each in recent if (xid := _xid(each)))) if isinstance(recent, list) else (),
        temperature=_heat(told.get("temperature")),
        memory_temperature=_heat(told.get("memory_temperature")),
        memory_usage=_share(_number(told.get("memory_used")), _number(told.get("memory_total"))),
        utilization=None if load is None else ratio(load),
        memory_errors=None if errors is None else int(errors),
        fault=(_text(str(told.get("reason") or "")) or "it is not healthy") if is_faulty else "",
    )
    labels = {
        key: str(each) for key, each in told.items() if isinstance(each, str | int) and not isinstance(each, bool)
    }
    return Row(labels, gpu)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < _BLANK * 2.0**32 else None  # type: ignore[operator, arg-type]


def _xid(value: object) -> int:
    """0 where there is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_XID)):
        value = int(value)
    number = _number(value)
    return int(number) if number is not None and number <= _MAX_XID else 0


def _heat(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 < number <= _HOTTEST else None


def _share(used: float | None, total: float | None) -> float | None:
    return None if used is None or not total else min(used / total, 1.0)


def _text(value: str) -> str:
    """On one line, for logs and tables, whatever an exporter says."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in value[:MAX_TEXT])
