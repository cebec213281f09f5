"""What the command line takes as addresses and numbers."""

import argparse

import pytest

from control_plane.cli.argument_types import address, duration, number, port, tcp_address


def test_addresses() -> None:
    """TCP and Unix sockets come back in the form that the program prints."""
    assert address("127.0.0.1:80") == tcp_address("127.0.0.1:80") == "127.0.0.1:80"
    assert tcp_address("[::1]:80") == "[::1]:80"
    assert address("unix:/run/k.sock") == "unix:/run/k.sock"


@pytest.mark.parametrize("text", ["", "8080", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "localhost:80", "unix:/a"])
def test_what_is_no_tcp_address(text: str) -> None:
    """Each is refused with a text."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"."):
        tcp_address(text)


def test_numbers_have_bounds() -> None:
    """Both bounds are allowed; beyond them and what is no number is refused with the bounds."""
    assert [number(1, 3)(text) for text in ("1", "3")] == [1, 3]
    assert port("65535") == 65_535
    for text in ("0", "4", "-1", "two", "\u00b2", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 3"):
            number(1, 3)(text)


def test_durations() -> None:
    """As in the policy; a number alone has no unit, and nobody waits for longer than a day."""
    assert [duration(text) for text in ("0s", "90s", "1m30s", "24h")] == [0, 90, 90, 86_400]
    for text in ("", "90", "-1s", "25h", "soon"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"."):
            duration(text)
