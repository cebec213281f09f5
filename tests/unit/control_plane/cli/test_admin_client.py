"""Asking a sidecar."""

import socket
import threading
from pathlib import Path

import pytest

from control_plane.cli.admin_client import AdminError, ask, error_text
from tests.unit.control_plane.cli.answering import answering


def test_over_tcp() -> None:
    """Method, path and body go, status and JSON come back."""
    with answering({"POST /x": (409, {"a": 1})}) as server:
        assert ask(server.address, "POST", "/x", {"b": 2}) == (409, {"a": 1})
        assert server.asked == [("POST /x", {"b": 2})]


def test_over_a_unix_socket(tmp_path: Path) -> None:
    """The same over a path."""
    path = str(tmp_path / "admin")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        thread = threading.Thread(
            target=_answer_once, args=(listening, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        )
        thread.start()
        assert ask(f"unix:{path}", "GET", "/status") == (200, {})
        thread.join()


def _answer_once(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


def test_something_that_speaks_no_http(tmp_path: Path) -> None:
    """An answer that is none is an error with words."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer_once, args=(listening, b"SSH-2.0\r\n\r\n"))
        thread.start()
        with pytest.raises(AdminError, match="no sidecar answers"):
            ask(f"127.0.0.1:{listening.getsockname()[1]}", "GET", "/status")
        thread.join()


@pytest.mark.parametrize(
    ("answer", "words"), [({"error": "a"}, "a"), ({"error": {"message": "b"}}, "b"), ({}, ""), ([], ""), ("x", "")]
)
def test_words_of_an_error(answer: object, words: str) -> None:
    """Both shapes of an error are understood."""
    assert error_text(answer) == words
