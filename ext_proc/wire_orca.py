"""The load headers of an answer, in any of the three forms, to numbers (`ext_proc.signals.orca`). No I/O, no clock."""

import base64
import binascii
from typing import Any, Final

from google.protobuf.message import DecodeError

from ext_proc.signals import orca
from protos.messages import Messages

_FRACTIONS: Final = ("cpu_utilization", "mem_utilization", "application_utilization", "rps_fractional", "eps")


class OrcaWire:
    """The codec of load headers. Immutable after construction."""

    def __init__(self, messages: Messages) -> None:
        """`messages` gives the message classes."""
        self._report: Any = messages["xds.data.orca.v3.OrcaLoadReport"]

    def decode(self, name: str, value: str) -> dict[str, float]:
        """Metric → value of the header `name`; raises ValueError where it is none of the three forms."""
        if len(value) > orca.MAX_BYTES:
            raise ValueError(f"longer than {orca.MAX_BYTES} bytes")
        if name == orca.BINARY_HEADER:
            return self._binary(value)
        form, _, rest = value.strip().partition(" ")
        match form.upper():
            case "TEXT":
                return orca.metrics_of_text(rest)
            case "JSON":
                return orca.metrics_of_json(rest)
            case "BIN":
                return self._binary(rest)
            case _:
                raise ValueError("neither TEXT nor JSON nor BIN")

    def _binary(self, text: str) -> dict[str, float]:
        bare = text.strip().rstrip("=")
        try:
            # Senders of gRPC metadata leave the padding out.
            report = self._report.FromString(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
        except (binascii.Error, DecodeError) as error:
            raise ValueError(f"not an OrcaLoadReport in base64: {error}") from None
        fields = {name: getattr(report, name) for name in _FRACTIONS if getattr(report, name)}
        return orca.metrics_of_fields(fields, {name: getattr(report, name) for name in orca.MAPS})
