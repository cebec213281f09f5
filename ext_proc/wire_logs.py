"""Access log records in protobuf to events of the core: what became of the requests that were picked.

    count, events = LogWire(messages).decode(data, at=now)

The router's `upstream_log` writes records per attempt, the listener's `access_log` one per request; both carry custom
tags that the compiled configuration defines (`decision`, `first_token_us`, …). Every field is Envoy's:
`envoy/service/accesslog/v3/als.proto`, `envoy/data/accesslog/v3/accesslog.proto`. No I/O, no clock.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from ext_proc.core.address import SocketAddress
from ext_proc.core.events import AttemptEnded, AttemptStarted, FirstToken, RequestEnded
from ext_proc.signals.orca import HEADERS
from protos.messages import Messages

# Envoy's short names of response flags (docs: access log usage, %RESPONSE_FLAGS%), by field of `ResponseFlags`.
_FLAGS: Final[Mapping[str, str]] = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "delay_injected": "DI",
    "fault_injected": "FI",
    "rate_limited": "RL",
    "unauthorized_details": "UAEX",
    "rate_limit_service_error": "RLSE",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "response_from_cache_filter": "RFCF",
    "no_filter_config_found": "NFCF",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "downstream_remote_reset": "DR",
}

# The client is gone: its connection ended or it reset its stream.
_ABORT_FLAGS: Final = frozenset({"DC", "DR"})

# `AccessLogType`: when in a request's or an attempt's life a record was written.
_REQUEST_END: Final = 6
_ATTEMPT_START: Final = 7
_ATTEMPT_PERIODIC: Final = 8
_ATTEMPT_END: Final = 9

# Counts of tokens and of microseconds (31 years) stay below; it also turns away infinity.
_LARGEST_NUMBER: Final = 1e15

LogEvent = AttemptStarted | FirstToken | AttemptEnded | RequestEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen:
    """An answer of `address` had a load header (`ext_proc.signals.orca`), among its headers or in its trailer."""

    decision_id: str
    address: str
    at: float
    name: str
    value: str
    is_trailer: bool
    is_last: bool
    """Whether the attempt is over, so that no further record repeats it."""


class LogWire:
    """The codec of access log streams. Immutable after construction."""

    def __init__(self, messages: Messages) -> None:
        """`messages` gives the message classes."""
        self._message: Any = messages["envoy.service.accesslog.v3.StreamAccessLogsMessage"]
        self.answer = bytes(messages["envoy.service.accesslog.v3.StreamAccessLogsResponse"]().SerializeToString())
        """The one serialised response of a log stream; Envoy does not read it."""

    def decode(self, data: bytes, at: float) -> tuple[int, list[LogEvent | LoadSeen]]:
        """How many records a serialised `StreamAccessLogsMessage` holds, and what they say happened.

        Records have no time of their own: events are dated `at`, their arrival, which is late by the log's flush
        interval, for a first token also by that of its periodic records. Each record after the first token tells of it
        again, and so of a load header. Records of requests that were not picked say nothing. Raises `ValueError` where
        it is no such message.
        """
        try:
            message = self._message.FromString(data)
        except DecodeError as error:
            raise ValueError(f"not a StreamAccessLogsMessage: {error}") from None
        entries = message.http_logs.log_entry
        return len(entries), [event for entry in entries for event in _events(entry, at)]


def _events(entry: Any, at: float) -> Iterator[LogEvent | LoadSeen]:
    # The kind tells attempts and requests apart by itself, so the log's name, sent once per stream, is not needed.
    common = entry.common_properties
    kind = common.access_log_type
    tags = common.custom_tags
    decision_id = tags.get("decision", "")
    if decision_id in ("", "-"):
        return
    if kind == _REQUEST_END:
        yield _request_ended(entry, common, tags, decision_id, at)
        return
    address = _address(common.upstream_remote_address)
    if not address or kind not in (_ATTEMPT_START, _ATTEMPT_PERIODIC, _ATTEMPT_END):
        return
    if kind == _ATTEMPT_START:
        yield AttemptStarted(decision_id=decision_id, address=address, at=at)
        return
    status = entry.response.response_code.value
    if (first_token := _first_token(common, tags, decision_id, address, at, status)) is not None:
        yield first_token
    if kind == _ATTEMPT_END:
        yield AttemptEnded(
            decision_id=decision_id,
            address=address,
            at=at,
            status=status,
            flags=_flags(common),
            failure=common.upstream_transport_failure_reason or entry.response.response_code_details,
        )
    # After the end: the request itself is no longer in the engine's numbers, nor then in ours.
    is_last = kind == _ATTEMPT_END
    yield from _loads(entry.response.response_headers, decision_id, address, at, is_trailer=False, is_last=is_last)
    yield from _loads(entry.response.response_trailers, decision_id, address, at, is_trailer=True, is_last=is_last)


def _loads(
    headers: Mapping[str, str], decision_id: str, address: str, at: float, *, is_trailer: bool, is_last: bool
) -> Iterator[LoadSeen]:
    for name in HEADERS:
        if value := headers.get(name, ""):
            yield LoadSeen(
                decision_id=decision_id,
                address=address,
                at=at,
                name=name,
                value=value,
                is_trailer=is_trailer,
                is_last=is_last,
            )
            return  # an answer with both names says the same twice


def _first_token(
    common: Any, tags: Mapping[str, str], decision_id: str, address: str, at: float, status: int
) -> FirstToken | None:
    """The first token that an attempt's record tells of, placed in time as well as the record allows."""
    own_us = _number(tags, "attempt_first_token_us")
    since_arrival_us = _number(tags, "first_token_us")
    ttft_us = own_us if since_arrival_us is None else since_arrival_us
    if ttft_us is None:
        return None
    if own_us is not None and common.HasField("duration"):  # at the attempt's end only
        at -= max(0.0, _seconds(common.duration) - own_us / 1e6)
    # Of an attempt that goes on the status may not be told yet; an error would be over.
    return FirstToken(decision_id=decision_id, address=address, at=at, ttft_ms=ttft_us / 1000, status=status or 200)


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _request_ended(entry: Any, common: Any, tags: Mapping[str, str], decision_id: str, at: float) -> RequestEnded:
    flags = _flags(common)
    first_token_us = _number(tags, "first_token_us")
    return RequestEnded(
        decision_id=decision_id,
        at=at,
        status=entry.response.response_code.value,
        served=_address(common.upstream_remote_address),
        attempts=common.upstream_request_attempt_count,
        flags=flags,
        aborted=not _ABORT_FLAGS.isdisjoint(flags),
        ttft_ms=None if first_token_us is None else first_token_us / 1000,
        duration_ms=_seconds(common.duration) * 1000,
        prompt_tokens=_count(tags, "prompt_tokens"),
        completion_tokens=_count(tags, "completion_tokens"),
        cached_tokens=_count(tags, "cached_tokens"),
    )


def _address(address: Any) -> str:
    socket = address.socket_address
    return str(SocketAddress(socket.address, socket.port_value)) if socket.address else ""


def _flags(common: Any) -> tuple[str, ...]:
    if not common.HasField("response_flags"):
        return ()
    return tuple(_FLAGS.get(field.name, field.name) for field, _ in common.response_flags.ListFields())


def _number(tags: Mapping[str, str], name: str) -> float | None:
    """A tag as a finite number that is not negative; None for Envoy's `-` and for anything else."""
    try:
        number = float(tags.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number < _LARGEST_NUMBER else None


def _count(tags: Mapping[str, str], name: str) -> int | None:
    number = _number(tags, name)
    return None if number is None else int(number)
