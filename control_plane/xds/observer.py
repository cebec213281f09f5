"""Who wants to know how Envoys take what they are sent: the interface between the streams and a rollout. Pure.

The server tells, after the stream itself has taken it in, so that an observer may publish from within a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from control_plane.compile.node import Node

if TYPE_CHECKING:
    from control_plane.xds.identity import Identity


class Observer(Protocol):
    """Told of every stream whose node is known. A call must not block; what it raises is logged and changes nothing,
    except in `connected`, where it ends the stream."""

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """A stream has said who it is (`identity`: what its certificate proves, None on plaintext). A text refuses it:
        it ends with PERMISSION_DENIED before anything is sent, and without `disconnected`."""

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """The response that carried these (name to version) was accepted; empty for one that only removed.

        A client that reconnects and says that it holds what it accepted on an earlier stream counts, too: it is told
        once per type, with all that it holds, and nothing is sent.
        """

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """The response was rejected with `text`; `resources` (name to version) are those that it names, or with
        `named` False all that the response carried, because the client did not say which."""

    def disconnected(self, node: Node) -> None:
        """The stream has ended; told once for each `connected` that was not refused."""


class Unobserved:
    """An observer that lets everybody in and notes nothing."""

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """Lets it in."""

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Nothing."""

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Nothing."""

    def disconnected(self, node: Node) -> None:
        """Nothing."""
