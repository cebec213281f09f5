"""One HTTP/2 request with prior knowledge over a plain socket, by `h2`."""

import socket
from collections.abc import Mapping

import h2.config
import h2.connection
import h2.events

TIMEOUT_S = 30.0


def post_http2(address: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """(status, body) of a POST; obeys flow control, and reads an answer that comes before the body is sent."""
    host, _, port = address.rpartition(":")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    with socket.create_connection((host, int(port)), TIMEOUT_S) as wire:
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", address)]
        connection.send_headers(stream, [*pseudo, *headers.items()])
        sent, status, answer = 0, 0, b""
        while True:
            while sent < len(body) and (window := _window(connection, stream)) > 0:
                chunk = body[sent : sent + window]
                sent += len(chunk)
                connection.send_data(stream, chunk, end_stream=sent == len(body))
                wire.sendall(connection.data_to_send())
            wire.sendall(connection.data_to_send())
            data = wire.recv(65536)
            if not data:
                return status, answer
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return status, answer


def _window(connection: h2.connection.H2Connection, stream: int) -> int:
    return int(min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size))
