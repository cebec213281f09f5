"""Words of the command line as values: a bad one is a usage error (64) that says what is wrong with it."""

import argparse
from collections.abc import Callable

MAX_PORT = 65_535


def address(text: str) -> str:
    """`HOST:PORT` with an IP, or `unix:/path`, in the form that the program prints."""
    from ext_proc.core.address import parse_address

    try:
        return str(parse_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def tcp_address(text: str) -> str:
    """`HOST:PORT` with an IP."""
    found = address(text)
    if found.startswith("unix:"):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return found


def number(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return read


port = number(0, MAX_PORT)
