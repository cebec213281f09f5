"""`kvpilot record`: whole lines in a file of its owner, and what is said about it."""

import json
import os
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from control_plane.admin import recordings
from control_plane.cli import EX_USAGE, main, record
from sim.traces import recording as reader
from sim.traces import rows
from sim.traces.read import read_trace
from tests.kit.ports import free_ports
from tests.unit.control_plane.cli.answering import answering

HEADER = b'{"kvpilot_trace":1,"name":"t","block_tokens":64}\n'
LINE = b'{"at":0.5,"prompt":150,"output":4,"blocks":[1,2]}\n'
GUESSED = b'{"at":0.7,"prompt":15,"output":4,"blocks":[],"guessed":true}\n'

PATIENCE_S = 20.0


@contextmanager
def sending(*chunks: bytes | Callable[[], None], is_whole: bool = True) -> Iterator[str]:
    """A sidecar that streams these bytes, and calls what is a function in between; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for chunk in chunks:
                if isinstance(chunk, bytes):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                else:
                    chunk()
            if is_whole:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Tests read standard error."""

    socketserver.TCPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def holds(path: Path, text: bytes) -> None:
    """Waits until that is in the file."""
    end = time.monotonic() + PATIENCE_S
    while path.read_bytes() != text:
        assert time.monotonic() < end, path.read_bytes()
        time.sleep(0.001)


def test_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines come in pieces and empty ones between; the file has the lines, and only its owner may read it."""
    path = tmp_path / "r.jsonl"
    with sending(HEADER, b"\n", LINE[:20], LINE[20:] + GUESSED, b'{"dropped":3}\n', b"\n") as address:
        assert main(["record", "-o", str(path), "--admin", address]) == 0
    assert path.read_bytes() == HEADER + LINE + GUESSED + b'{"dropped":3}\n'
    assert path.stat().st_mode & 0o777 == 0o600
    trace = read_trace(path)
    assert (len(trace), trace.missing) == (2, 3)
    said = capsys.readouterr().err
    assert "2 requests in" in said
    assert "1 of them with a guessed length" in said
    assert "3 more were lost" in said


def test_what_is_asked_for(tmp_path: Path) -> None:
    """Duration, requests and pool are the sidecar's business."""
    asked = "GET /record?duration=60&requests=5&pool=chat+b"
    with answering({asked: (200, HEADER.decode())}) as server:
        words = ("--duration", "60", "--requests", "5", "--pool", "chat b")
        assert main(["record", "-o", str(tmp_path / "r"), *words, "--admin", server.address]) == 0
        assert [what for what, _ in server.asked] == [asked]


def test_ctrl_c_is_the_usual_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a line that had come is not in the file, and nothing is wrong."""
    path = tmp_path / "r.jsonl"
    until = threading.Event()

    def stop() -> None:
        holds(path, HEADER + LINE)
        os.kill(os.getpid(), signal.SIGTERM)
        until.wait(PATIENCE_S)

    with sending(HEADER + LINE, LINE[:9], stop) as address:
        assert main(["record", "-o", str(path), "--admin", address]) == 0
        until.set()
    assert path.read_bytes() == HEADER + LINE
    assert "1 requests in" in capsys.readouterr().err


def test_a_sidecar_that_goes_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was recorded is kept, and the exit status says that it is not all."""
    path = tmp_path / "r.jsonl"
    with sending(HEADER + LINE, is_whole=False) as address:
        assert main(["record", "-o", str(path), "--admin", address]) == 1
    assert path.read_bytes() == HEADER + LINE
    assert "is gone" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<html>\n", b"[]\n", b'{"at": 1}\n', b"\xff\n"])
def test_what_is_no_sidecar(tmp_path: Path, body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is kept, not even a file."""
    path = tmp_path / "r.jsonl"
    with sending(body) as address:
        assert main(["record", "-o", str(path), "--admin", address]) == 1
    assert not path.exists()
    assert "is no kvpilot" in capsys.readouterr().err


def test_a_refusal_in_the_sidecars_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown pool, or too many recordings."""
    path = tmp_path / "r.jsonl"
    answer = json.dumps({"error": {"message": "there is no pool 'x'"}})
    with answering({"GET /record?pool=x": (404, answer)}) as server:
        assert main(["record", "-o", str(path), "--pool", "x", "--admin", server.address]) == 1
    assert not path.exists()
    assert "there is no pool 'x'" in capsys.readouterr().err


def test_nobody_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sidecar nothing is recorded."""
    (port,) = free_ports(1)
    assert main(["record", "-o", str(tmp_path / "r"), "--admin", f"127.0.0.1:{port}"]) == 1
    assert "no sidecar answers" in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there stays as it is; so does a folder that is not there."""
    path = tmp_path / "r.jsonl"
    path.write_text("mine")
    assert main(["record", "-o", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "File exists; a recording is not added to another one" in capsys.readouterr().err
    assert main(["record", "-o", str(tmp_path / "no" / "r")]) == 1


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of the last lines is taken back."""
    path = tmp_path / "r.jsonl"
    write, calls = os.write, []

    def full(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return write(descriptor, data)
        if len(calls) == 2:
            return write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    with sending(HEADER, lambda: holds(path, HEADER), LINE) as address:
        monkeypatch.setattr(os, "write", full)
        assert main(["record", "-o", str(path), "--admin", address]) == 1
    assert path.read_bytes() == HEADER
    assert len(calls) == 3


def test_wrong_words(tmp_path: Path) -> None:
    """A file is needed, and numbers are positive."""
    for words in ([], ["-o", str(tmp_path / "r"), "--requests", "0"], ["-o", str(tmp_path / "r"), "--duration", "x"]):
        with pytest.raises(SystemExit) as exit_:
            main(["record", *words])
        assert exit_.value.code == EX_USAGE


def test_the_same_words_everywhere() -> None:
    """What must not be imported here is as it is where it comes from."""
    assert record.MARK == reader.MARK
    assert record.MAX_LINE_BYTES == rows.MAX_LINE_CHARACTERS
    assert record.MAX_REQUESTS == recordings.MAX_REQUESTS == rows.MAX_REQUESTS
    assert record.MAX_DURATION_S == recordings.MAX_DURATION_S
