"""Listening: bound addresses, and errors that tell an operator what is in the way."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ext_proc.transport.binding import bind, listen
from ext_proc.transport.interface import AddressInUseError, BindError


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    """A gRPC server that is not started."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    yield server
    await server.stop(None)


async def test_port_from_the_system(server: Any, tmp_path: Path) -> None:
    """Port 0 becomes the bound port; a Unix socket stays what it is; both serve."""
    first, second = bind(server, ["127.0.0.1:0", f"unix:{tmp_path}/s"])
    await server.start()
    host, _, port = first.rpartition(":")
    assert host == "127.0.0.1"
    assert second == f"unix:{tmp_path}/s"
    with socket.create_connection((host, int(port))), socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")


async def test_ipv6(server: Any) -> None:
    """An IPv6 address keeps its brackets."""
    try:
        (bound,) = bind(server, ["[::1]:0"])
    except BindError:
        pytest.skip("this machine has no IPv6")
    assert bound.startswith("[::1]:")


async def test_port_in_use(server: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is listened on is said to be so, without noise from gRPC."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressInUseError, match=f"cannot listen on {address}: another process listens there"):
            bind(server, [address])
    assert capfd.readouterr().err == ""


async def test_port_just_left(server: Any) -> None:
    """A port whose last connection lingers can be listened on again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = other.accept()
            accepted.close()
            assert client.recv(1) == b""
    assert bind(server, [f"127.0.0.1:{port}"]) == [f"127.0.0.1:{port}"]


async def test_address_of_another_machine(server: Any) -> None:
    """An address that this machine does not have is said to be the problem (203.0.113.0/24 is for documents)."""
    with pytest.raises(BindError, match="Cannot assign requested address"):
        bind(server, ["203.0.113.7:0"])


async def test_no_address(server: Any) -> None:
    """A text that is no address is refused before anything is opened."""
    with pytest.raises(ValueError, match="no port"):
        bind(server, ["localhost"])


async def test_living_socket(server: Any, tmp_path: Path) -> None:
    """A Unix socket on which somebody serves is not taken over."""
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(AddressInUseError, match="another process"):
            bind(server, [f"unix:{path}"])


async def test_dead_socket(server: Any, tmp_path: Path) -> None:
    """A Unix socket that a dead server left behind is replaced."""
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
    assert bind(server, [f"unix:{path}"]) == [f"unix:{path}"]


async def test_file_in_the_way(server: Any, tmp_path: Path) -> None:
    """A file that is no socket is not removed."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(BindError, match="not a socket"):
        bind(server, [f"unix:{path}"])
    assert path.read_text() == "precious"


async def test_no_directory(server: Any, tmp_path: Path) -> None:
    """A socket in a directory that does not exist is said to lack it."""
    with pytest.raises(BindError, match="no directory"):
        bind(server, [f"unix:{tmp_path}/none/s"])


async def test_listening(server: Any) -> None:
    """A server that could be bound is started as well; one that could not is stopped."""
    (bound,) = await listen(server, ["127.0.0.1:0"])
    host, _, port = bound.rpartition(":")
    with socket.create_connection((host, int(port))):
        pass
    stopped: list[object] = []

    class Other:
        async def stop(self, grace_s: float | None) -> None:
            stopped.append(grace_s)

    with pytest.raises(AddressInUseError):
        await listen(Other(), [bound])
    assert stopped == [None]
