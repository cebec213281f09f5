"""Words of the command line as values: a bad one is a usage error (64) that says what is wrong with it."""

import argparse
from collections.abc import Callable
from math import inf
from typing import Any

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


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _float(text)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def reader(what: str, read_text: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader whose ValueError is a usage error."""

    def read(text: str) -> Any:
        try:
            return read_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error) or f"{text!r} is not {what}") from error

    return read


def delay(text: str) -> float:
    """A finite number from 0 on."""
    value = _float(text)
    if not 0 <= value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration")
    return value


def duration(text: str) -> float:
    """A time as the policy writes it, such as `30s` or `1m30s`, from nothing to a day; in seconds."""
    from control_plane.policy.kinds import ValueRefusedError
    from control_plane.policy.units import Duration

    try:
        return Duration("0s", "24h").parse(text)
    except ValueRefusedError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
