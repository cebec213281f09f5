"""Load reports in protobuf (`protos/load_reports.proto`) to events of the core. No I/O, no clock."""

from typing import Any, Final

from google.protobuf.message import DecodeError

from ext_proc.core.address import SocketAddress, parse_address
from ext_proc.core.events import LoadReported
from ext_proc.core.loaded_models import MAX_NAMES
from ext_proc.signals.numbers import Numbers
from protos.messages import Messages

MAX_NAME: Final = 256
"""Characters of a model's name: as many as a policy's have."""

_MAYBE: Final = ("running", "waiting", "waiting_tokens", "max_running", "kv_usage")
_OR_ZERO: Final = ("kv_tokens", "block_size")


class LoadWire:
    """The codec of `kvpilot.load.v1`. Immutable after construction."""

    def __init__(self, messages: Messages) -> None:
        """`messages` gives the message classes."""
        self._heartbeat: Any = messages["kvpilot.load.v1.Heartbeat"]
        self._ack: Any = messages["kvpilot.load.v1.Ack"]

    def decode(self, data: bytes, at: float) -> tuple[int, LoadReported]:
        """The sequence number and the report of a serialised `Heartbeat`, dated `at`.

        Numbers that no engine can mean are not told. Raises ValueError for what is no heartbeat.
        """
        try:
            message = self._heartbeat.FromString(data)
        except DecodeError as error:
            raise ValueError(f"not a Heartbeat: {error}") from None
        numbers = Numbers()
        for name in _MAYBE:
            if message.HasField(name):
                numbers.take(name, (getattr(message, name), name))
        for name in _OR_ZERO:
            if getattr(message, name):
                numbers.take(name, (getattr(message, name), name))
        return int(message.sequence), LoadReported(
            address=_address(message.address),
            at=at,
            interval_s=message.interval_ms / 1000 if message.interval_ms else None,
            models=_names(message, "models"),
            adapters=_names(message, "adapters"),
            draining=message.draining if message.HasField("draining") else None,
            **numbers.scrape().values(),
        )

    def acknowledgement(self, sequence: int) -> bytes:
        """A serialised `Ack`."""
        return bytes(self._ack(sequence=sequence).SerializeToString())


def _address(text: str) -> str:
    try:
        address = parse_address(text)
    except ValueError:
        address = None
    if not isinstance(address, SocketAddress):
        # Never more of it than fits into a line.
        raise ValueError(f"`address` must be ip:port, such as 10.0.0.1:8000, and is {text[:64]!r}")
    return str(address)


def _names(message: Any, field: str) -> tuple[str, ...] | None:
    if not message.HasField(field):
        return None
    names = tuple(getattr(message, field).name)
    if len(names) > MAX_NAMES or any(len(name) > MAX_NAME for name in names):
        raise ValueError(f"`{field}` may have {MAX_NAMES} names of {MAX_NAME} characters")
    return tuple(dict.fromkeys(name for name in names if name))
