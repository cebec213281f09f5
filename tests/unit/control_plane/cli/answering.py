"""An admin server that gives prepared answers and notes what it was asked."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answering:
    """`answers` maps `METHOD path` to status and JSON (or text); `asked` has what came, with its JSON."""

    address: str
    answers: dict[str, tuple[int, Any]]
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def answering(answers: Mapping[str, tuple[int, Any]]) -> Iterator[Answering]:
    """Serves on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length", "0")))
            what = f"{self.command} {self.path}"
            state.asked.append((what, json.loads(data) if data else None))
            status, value = state.answers.get(what, (404, {"error": "not prepared"}))
            body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests read standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Answering(f"127.0.0.1:{server.server_port}", dict(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
