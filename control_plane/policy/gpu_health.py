"""`pools.NAME.health.gpu`: where the hardware behind endpoints is told of, and what of that counts against them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.scalars import Integer, Percent, Text
from control_plane.policy.security import FILE
from control_plane.policy.units import Duration
from ext_proc.core.endpoint_text import fault_of

FATAL_XIDS = (46, 48, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, 154, 155, 158)
"""Errors of a GPU, its memory, its links or its firmware after which it wants to be reset or replaced (docs.nvidia.com:
"Xid Errors", the catalog's immediate actions, and the Xid checks of "Health Validation"): 48 and 140 memory that could
not be corrected, 64 rows that could not be remapped, 74 NVLink, 79 off the bus, 95 uncontained, 119 and 120 its GSP,
154 that it needs recovery. Others are the program's own (13, 31, 43, 45), end only the program that they hit (94), or
are notes (63)."""

MAX_XID = 9_999
MAX_XIDS = 256
"""NVIDIA's catalog has fewer."""

MAX_CELSIUS = 200
"""Nothing works there."""

MAX_TEMPERATURE = 87
"""°C: an A100 may work at up to 85 and slows down at 89 (`nvidia-smi -q -d TEMPERATURE`); newer ones are alike."""

MAX_MEMORY_TEMPERATURE = 95
"""°C: up to where the HBM of an A100 may work (`Memory Max Operating Temp`)."""

MAX_MATCHES = 16
MAX_TEXT = 512

_URL = r"https?://(?:[^\s/?#@{}]|\{[^{}]*\})+(?:/[^\s#@]*)?"


@dataclass(frozen=True, slots=True)
class EndpointText(ScalarKind[str]):
    """A text with `{host}`, `{port}` and `{label.NAME}` of each endpoint in it; with `is_url` a URL."""

    is_url: bool = False

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a URL such as http://{host}:9400/metrics" if self.is_url else "a text such as node-1 or {label.node}"

    def parse(self, text: str) -> str:
        """The text; raises ValueRefusedError."""
        if len(text) > MAX_TEXT or not text.isprintable() or not text.isascii():
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}")
        if fault := fault_of(text):
            raise ValueRefusedError(f"{quoted(text)}: {fault}")
        if self.is_url and re.fullmatch(_URL, text) is None:
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}")
        return text

    def schema(self) -> Json:
        """Its outer form."""
        pattern = f"^(?:{_URL})$" if self.is_url else "^[ -~]*$"
        return {"type": "string", "pattern": pattern, "maxLength": MAX_TEXT}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        what = "`http://` or `https://` URL" if self.is_url else "a text"
        return f"{what}, in which `{{host}}`, `{{port}}` and `{{label.NAME}}` are those of the endpoint"


ROW_LABEL = Text("the name of a label, such as `pod`", "[A-Za-z_][A-Za-z0-9_]*", 128, code=Code.NOT_A_VALUE)


@block()
class GpuHealth(Block):
    """What the hardware behind endpoints tells: NVIDIA's dcgm-exporter, or JSON of one's own (`docs/health.md`).

    Of several GPUs of one endpoint the worst counts. An exporter that cannot be read counts for nothing.
    """

    url: str = setting(
        EndpointText(is_url=True),
        default="http://{host}:9400/metrics",
        doc="The page. Exporters usually run once on a node; where pods have addresses of their own, a label of the "
        "endpoint tells the node's: `http://{label.node}:9400/metrics`. Each page is asked for once for all endpoints "
        "that have it. `https` takes the pool's `tls`, if it has any.",
    )
    match: Mapping[str, str] = setting(
        MapOf(ROW_LABEL, EndpointText(), MAX_MATCHES),
        default_factory=dict,
        hash=False,
        doc="Labels (keys, in JSON) of the endpoint's GPUs on that page, such as `pod: '{label.pod}'`; a value with "
        "commas stands for any of its parts, such as `gpu: 0,1`. None given: all GPUs of the page are its own.",
    )
    interval_s: float = setting(
        Duration("200ms", "10m"),
        default=10.0,
        doc="Time between two looks. dcgm-exporter itself looks every 30 seconds unless it is told otherwise.",
    )
    timeout_s: float = setting(Duration("10ms", "60s"), default=2.0, doc="A page that takes longer is none.")
    bearer_token_file: str = setting(
        FILE,
        default="",
        absent=("", "no token is sent"),
        doc="File with the token that the page wants (`authorization: Bearer …`); it is watched. Over `http` it "
        "travels in the clear.",
    )
    fatal_xids: tuple[int, ...] = setting(
        ListOf(Integer(1, MAX_XID), maximum=MAX_XIDS),
        default=FATAL_XIDS,
        doc="Errors (NVIDIA's XIDs) that make an endpoint unhealthy at once. One that was there at the first look "
        "makes it degraded for ten minutes: it may have been mended, for an exporter tells of its last error until it "
        "is restarted. `[]` looks at none.",
    )
    max_temperature: int | None = setting(
        OrWord(Integer(1, MAX_CELSIUS, "°C"), "off", "not looked at"),
        default=MAX_TEMPERATURE,
        doc="An endpoint is degraded whose GPU is as hot, until it is five degrees cooler.",
    )
    max_memory_temperature: int | None = setting(
        OrWord(Integer(1, MAX_CELSIUS, "°C"), "off", "not looked at"),
        default=MAX_MEMORY_TEMPERATURE,
        doc="The same of a GPU's memory, where that is told.",
    )
    max_memory_usage: int | None = setting(
        OrWord(Percent(), "off", "not looked at"),
        default=None,
        doc="An endpoint is degraded from this share of its GPUs' memory on, until it is five percent below. Off, "
        "since engines take nine tenths and more when they start, busy or not; `health.maxKvUsage` looks at what they "
        "use.",
    )
    max_utilization: int | None = setting(
        OrWord(Percent(), "off", "not looked at"),
        default=None,
        doc="The same of the time in which a GPU did anything. Off, since that is all of it from a few requests on.",
    )
